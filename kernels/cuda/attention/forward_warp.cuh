// What a warp of the bf16 forward kernels does with its rows.
#pragma once

#include <cstdint>

#include "kernels/cuda/attention/dropout.cuh"
#include "kernels/cuda/attention/forward_tile.cuh"
#include "kernels/cuda/attention/mask.cuh"
#include "kernels/cuda/attention/row_copy.cuh"
#include "kernels/cuda/attention/tensor_core.cuh"

namespace trireme::cuda {

// Holds in registers, of each row, the sum of values so far, the sum of exponentials and their origin.
// Fragment m is 16 rows; of these a lane has rows lane / 4 (half 0) and lane / 4 + 8 (half 1), and of every 8
// columns two, lane % 4 * 2 and the next: x[m][column / 8][2 half + column % 2].
template <typename Tile>
class ForwardWarp {
 public:
  __device__ ForwardWarp(const AttentionParameters<Bfloat16>& p, const TileRows<Tile>& rows)
      : p_(p), rows_(rows), mask_(p, rows.sequence(), rows.first_head()) {
    clear(sums_);
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        origins_[m][half] = -INFINITY;
        exp_sums_[m][half] = 0.0F;
      }
      if constexpr (Tile::kDropout) {
        const int row = row_of(m, lane() % 2);
        const ProbabilityDropout dropout(p, rows.sequence(), rows.head(row));
        counters_[m] = dropout.counter(rows.query(row)) + static_cast<unsigned>(lane() % 4 / 2);
      }
    }
  }

  // Of the warp's queries and a tile of keys.
  __device__ Sight sight(int first_key) const {
    const Range queries = rows_.queries(first_row(), first_row() + Tile::kWarpRows);
    if (queries.end <= queries.begin) return Sight::kNone;
    const Sight sight = mask_.sight(queries, {first_key, min(first_key + Tile::kKeys, p_.num_keys)});
    return sight == Sight::kAll && first_key + Tile::kKeys > p_.num_keys ? Sight::kSome : sight;
  }

  // Takes in the scores of a tile of keys.  Addresses are of tiles in shared memory.
  __device__ void see_keys(unsigned queries, unsigned keys, int first_key, Sight sight) {
    Scores scores;
    multiply_queries(scores, queries, keys);
    if (p_.alibi_slopes != nullptr) add_bias(scores, first_key);
    if (sight != Sight::kAll) hide(scores, first_key);
    accumulate(scores);
    if constexpr (Tile::kDropout) drop(scores, first_key);
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int i = 0; i < Tile::kKeys / 8; ++i) {
        // As mma wants its left operand: rows of half 0, of half 1, then the next 8 columns.
        probabilities_[m][i / 2][i % 2 * 2] = pack(scores[m][i][0], scores[m][i][1]);
        probabilities_[m][i / 2][i % 2 * 2 + 1] = pack(scores[m][i][2], scores[m][i][3]);
      }
    }
  }

  // Adds the values of the keys seen last.
  __device__ void add_values(unsigned values) {
    const unsigned address = fresh(values + Tile::Keys::offset(lane() % 16, lane() / 16));
#pragma unroll
    for (int k = 0; k < Tile::kKeys / 16; ++k) {
#pragma unroll
      for (int i = 0; i < Tile::kWidth / 16; ++i) {
        unsigned b[4];
        load_matrices_transposed(b, Tile::Keys::columns_on(address, i) + k * 16 * Tile::Keys::kRowBytes);
#pragma unroll
        for (int m = 0; m < Tile::kFragments; ++m) {
          multiply_add(sums_[m][2 * i], probabilities_[m][k], b[0], b[1]);
          multiply_add(sums_[m][2 * i + 1], probabilities_[m][k], b[2], b[3]);
        }
      }
    }
  }

  // Writes out and lse; out by way of the warp's own rows of the tile of queries, which it needs no more.
  __device__ void write(unsigned char* queries) {
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = row_of(m, half);
        const float factor = finish(m, half);
        if (p_.lse != nullptr && lane() % 4 == 0 && rows_.is_there(row)) {
          p_.lse[number_of(row)] = lse(m, half);
        }
        unsigned addresses[2];
        for (int i = 0; i < 2; ++i) addresses[i] = Tile::Queries::offset(row, i) + lane() % 4 * 4;
#pragma unroll
        for (int i = 0; i < Tile::kWidth / 8; ++i) {
          const unsigned address = Tile::Queries::columns_on(addresses[i % 2], i / 2);
          *reinterpret_cast<unsigned*>(queries + address) =
              pack(sums_[m][i][2 * half] * factor, sums_[m][i][2 * half + 1] * factor);
        }
      }
    }
    __syncwarp();
    // Of the warp's own rows, which are a tile by themselves.
    using Rows = SharedTile<Tile::kWarpRows, Tile::kWidth>;
    const unsigned char* const own = queries + first_row() * Rows::kRowBytes;
    Bfloat16* const first = p_.out.head(rows_.sequence(), 0);
    const auto to = [&](int row, int chunk) {
      return first + rows_.query(first_row() + row) * p_.out.row_stride +
             rows_.head(first_row() + row) * p_.out.head_stride + chunk * 8;
    };
    if (p_.is_aligned) {
      for_each_chunk<Rows, 32, true>(lane(), [&](unsigned offset, int row, int chunk) {
        if (rows_.is_there(first_row() + row) && chunk * 8 < p_.width) {
          *reinterpret_cast<uint4*>(to(row, chunk)) = *reinterpret_cast<const uint4*>(own + offset);
        }
      });
    } else {
      for_each_chunk<Rows, 32, false>(lane(), [&](unsigned offset, int row, int chunk) {
        const int count = rows_.is_there(first_row() + row) ? min(8, p_.width - chunk * 8) : 0;
        for (int i = 0; i < count; ++i) {
          to(row, chunk)[i] = reinterpret_cast<const Bfloat16*>(own + offset)[i];
        }
      });
    }
  }

  // Writes what the block's split has found.
  __device__ void write_split(const ForwardGrid& grid) {
    const std::int64_t first =
        static_cast<std::int64_t>(fresh(static_cast<int>(blockIdx.y)) / grid.num_tiles) * p_.num_sequences *
        p_.num_heads * p_.num_queries;
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = row_of(m, half);
        const float factor = finish(m, half);
        if (!rows_.is_there(row)) continue;
        const std::int64_t number = first + number_of(row);
        if (lane() % 4 == 0) grid.split_lse[number] = lse(m, half);
        if (exp_sums_[m][half] == 0.0F) continue;
        float* const to = grid.split_out + number * Tile::kWidth + lane() % 4 * 2;
#pragma unroll
        for (int i = 0; i < Tile::kWidth / 8; ++i) {
          *reinterpret_cast<float2*>(to + i * 8) =
              make_float2(sums_[m][i][2 * half] * factor, sums_[m][i][2 * half + 1] * factor);
        }
      }
    }
  }

 private:
  using Scores = float[Tile::kFragments][Tile::kKeys / 8][4];
  using Sums = float[Tile::kFragments][Tile::kWidth / 8][4];

  __device__ static int lane() {
    return static_cast<int>(threadIdx.x % 32);
  }
  __device__ static int first_row() {
    return static_cast<int>(threadIdx.x / 32) * Tile::kWarpRows;
  }
  __device__ static int row_of(int m, int half) {
    return first_row() + m * 16 + half * 8 + lane() / 4;
  }
  // Rows that are not there see what the last one sees.
  __device__ int query_of(int m, int half) const {
    return min(rows_.query(fresh(row_of(m, half))), p_.num_queries - 1);
  }
  __device__ static int column_of(int i, int j) {
    return i * 8 + lane() % 4 * 2 + j % 2;
  }
  // Of a row among all of lse.
  __device__ std::int64_t number_of(int row) const {
    const std::int64_t head = static_cast<std::int64_t>(rows_.sequence()) * p_.num_heads + rows_.head(row);
    return head * p_.num_queries + rows_.query(row);
  }

  template <int kParts>
  __device__ static void clear(float (&x)[Tile::kFragments][kParts][4]) {
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int i = 0; i < kParts; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) x[m][i][j] = 0.0F;
      }
    }
  }

  __device__ static void multiply_queries(Scores& scores, unsigned queries, unsigned keys) {
    const unsigned query_address =
        fresh(queries + Tile::Queries::offset(first_row() + lane() % 16, lane() / 16));
    const unsigned key_address = keys + Tile::Keys::offset(lane() % 8 + lane() / 16 * 8, lane() / 8 % 2);
    clear(scores);
    // Unrolled wholly, operands would be loaded so early that registers don't suffice for the widest heads.
    constexpr int kUnroll = Tile::kWidth == 128 ? 2 : Tile::kWidth / 16;
#pragma unroll kUnroll
    for (int k = 0; k < Tile::kWidth / 16; ++k) {
      unsigned a[Tile::kFragments][4];
#pragma unroll
      for (int m = 0; m < Tile::kFragments; ++m) {
        load_matrices(a[m], Tile::Queries::columns_on(query_address, k) + m * 16 * Tile::Queries::kRowBytes);
      }
#pragma unroll
      for (int i = 0; i < Tile::kKeys / 16; ++i) {
        unsigned b[4];
        load_matrices(b, Tile::Keys::columns_on(key_address, k) + i * 16 * Tile::Keys::kRowBytes);
#pragma unroll
        for (int m = 0; m < Tile::kFragments; ++m) {
          multiply_add(scores[m][2 * i], a[m], b[0], b[1]);
          multiply_add(scores[m][2 * i + 1], a[m], b[2], b[3]);
        }
      }
    }
  }

  // ALiBi.  Scores are still to be scaled.
  __device__ void add_bias(Scores& scores, int first_key) const {
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = fresh(row_of(m, half));
        const float slope = __fdividef(p_.alibi_slopes[rows_.head(row)] * 1.44269504F, p_.scale);
        const int position = rows_.query(row) + p_.num_keys - p_.num_queries;
        const auto distance = static_cast<float>(position - first_key - column_of(0, 0));
#pragma unroll
        for (int i = 0; i < Tile::kKeys / 8; ++i) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            float& score = scores[m][i][2 * half + j];
            score = fmaf(-slope, fabsf(distance - static_cast<float>(i * 8 + j)), score);
          }
        }
      }
    }
  }

  // Lowers the scores of keys that are not seen, or not there, to -infinity.
  __device__ void hide(Scores& scores, int first_key) const {
    const int first_column = first_key + column_of(0, 0);
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int query = query_of(m, half);
        const Range keys = mask_.keys_of({query, query + 1});
        const int begin = keys.begin - first_column, end = keys.end - first_column;
#pragma unroll
        for (int i = 0; i < Tile::kKeys / 8; ++i) {
#pragma unroll
          for (int j = 0; j < 2; ++j) {
            if (i * 8 + j < begin || i * 8 + j >= end) scores[m][i][2 * half + j] = -INFINITY;
          }
        }
      }
    }
    if (mask_.has_documents()) hide_other_documents(scores, first_key);
  }

  __device__ void hide_other_documents(Scores& scores, int first_key) const {
    int documents[Tile::kFragments][2];
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) documents[m][half] = mask_.document_of_query(query_of(m, half));
    }
    // Each lane asks for one of 32 keys, and hands it on to those that have a column of it.
#pragma unroll
    for (int first = 0; first < Tile::kKeys; first += 32) {
      // Keys that are not there are hidden already.
      const int key = min(first_key + first + lane(), p_.num_keys - 1);
      const int lane_document = mask_.document_of_key(key);
#pragma unroll
      for (int i = first / 8; i < first / 8 + 4; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) {
          const int document = __shfl_sync(0xFFFFFFFFu, lane_document, column_of(i, j) - first);
#pragma unroll
          for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
            for (int half = 0; half < 2; ++half) {
              if (document != documents[m][half]) scores[m][i][2 * half + j] = -INFINITY;
            }
          }
        }
      }
    }
  }

  // Turns scores into exponentials, as multiples of that of the row's origin.
  __device__ void accumulate(Scores& scores) {
    raise_origins(scores);
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float exponent = exponent_of(origins_[m][half]);
#pragma unroll
        for (int i = 0; i < Tile::kKeys / 8; ++i) {
#pragma unroll
          for (int j = 2 * half; j < 2 * half + 2; ++j) {
            scores[m][i][j] = exp2_fast(fmaf(scores[m][i][j], p_.scale, -exponent));
            exp_sums_[m][half] += scores[m][i][j];
          }
        }
      }
    }
  }

  // Rows' origins need not be their largest scores: where no exponential is above 2^kMaxExponent, nothing can
  // overflow and no digit is lost, so that what was summed before seldom has to be brought to new origins.
  __device__ void raise_origins(const Scores& scores) {
    constexpr float kMaxExponent = 8.0F;
    float largest[Tile::kFragments][2];
    bool must_rise = false;
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        float x = scores[m][0][2 * half];
#pragma unroll
        for (int i = 0; i < Tile::kKeys / 8; ++i) {
          x = fmaxf(x, fmaxf(scores[m][i][2 * half], scores[m][i][2 * half + 1]));
        }
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
        x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
        largest[m][half] = x;
        must_rise = must_rise || (x - origins_[m][half]) * p_.scale > kMaxExponent;
      }
    }
    if (!__any_sync(0xFFFFFFFFu, must_rise)) return;
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const float origin = fmaxf(origins_[m][half], largest[m][half]);
        const float correction = exp2_fast(fmaf(origins_[m][half], p_.scale, -exponent_of(origin)));
        origins_[m][half] = origin;
        exp_sums_[m][half] *= correction;
#pragma unroll
        for (int i = 0; i < Tile::kWidth / 8; ++i) {
          sums_[m][i][2 * half] *= correction;
          sums_[m][i][2 * half + 1] *= correction;
        }
      }
    }
  }

  // What is subtracted from a row's exponents.  A row that has seen no key has no origin yet.
  __device__ float exponent_of(float origin) const {
    return origin == -INFINITY ? 0.0F : origin * p_.scale;
  }

  // The random bits of a row's four neighbouring keys serve two lanes, and a lane has two rows: so each lane
  // draws for one of them, and passes on the half that its neighbour needs.
  __device__ void drop(Scores& scores, int first_key) const {
    const bool is_odd = lane() % 2 != 0;
    const std::uint64_t key = fresh(p_.dropout_key);
#pragma unroll
    for (int m = 0; m < Tile::kFragments; ++m) {
      const std::uint64_t first = counters_[m] + static_cast<unsigned>(first_key / 4);
#pragma unroll
      for (int i = 0; i < Tile::kKeys / 8; ++i) {
        const uint4 bits = philox(key, first + static_cast<unsigned>(2 * i));
        const unsigned other0 = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? bits.x : bits.z, 1);
        const unsigned other1 = __shfl_xor_sync(0xFFFFFFFFu, is_odd ? bits.y : bits.w, 1);
        const unsigned mine[4] = {is_odd ? other0 : bits.x, is_odd ? other1 : bits.y,
                                  is_odd ? bits.z : other0, is_odd ? bits.w : other1};
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          if (mine[j] >> 8 < p_.dropout_threshold) scores[m][i][j] = 0.0F;
        }
      }
    }
  }

  // Completes a row's sum of exponentials.  Gives what its sum of values is to be multiplied by.
  __device__ float finish(int m, int half) {
    float sum = exp_sums_[m][half];
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 1);
    sum += __shfl_xor_sync(0xFFFFFFFFu, sum, 2);
    exp_sums_[m][half] = sum;
    return sum == 0.0F ? 0.0F : __fdividef(p_.dropout_scale, sum);
  }
  // REQUIRES: finish() was called.
  __device__ float lse(int m, int half) const {
    const float sum = exp_sums_[m][half];
    return sum == 0.0F ? -INFINITY : (origins_[m][half] * p_.scale + __log2f(sum)) * 0.693147181F;
  }

  const AttentionParameters<Bfloat16>& p_;
  const TileRows<Tile>& rows_;
  Mask mask_;
  Sums sums_;
  float origins_[Tile::kFragments][2];   // scores, before scaling, whose exponentials count as 1
  float exp_sums_[Tile::kFragments][2];  // of the lane's own columns
  unsigned probabilities_[Tile::kFragments][Tile::kKeys / 16][4];
  std::uint64_t counters_[Tile::kFragments];  // of the random bits for keys 0 to 3 and 4 to 7
};

}  // namespace trireme::cuda
