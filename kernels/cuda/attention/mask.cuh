// Who sees whom: attention's masks, by block and by element.
#pragma once

#include "kernels/cuda/attention/base2.cuh"
#include "kernels/cuda/attention/parameters.h"
#include "kernels/cuda/attention/tensor_core.cuh"

namespace trireme::cuda {

// Half-open.
struct Range {
  int begin, end;
};

// How a block of queries and a block of keys see each other.
enum class Sight { kNone, kSome, kAll };

// The masks of one sequence and head.  Positions are those of the keys: query t stands at t + S - T.
class Mask {
 public:
  template <typename T>
  __device__ Mask(const AttentionParameters<T>& p, int b, int h)
      : shift_(p.num_keys - p.num_queries),
        num_queries_(p.num_queries),
        num_keys_(p.num_keys),
        window_(p.window),
        is_causal_(p.is_causal),
        sequence_(b),
        query_documents_(p.query_documents),
        key_documents_(p.key_documents),
        // In units of log 2, as scores are.
        slope_(p.alibi_slopes == nullptr ? 0.0F : p.alibi_slopes[h] * kLog2E) {}

  // The keys that causality and window let any of the queries [queries.begin, queries.end) see.
  __device__ Range keys_of(Range queries) const {
    const int first = queries.begin + shift_, last = queries.end - 1 + shift_;
    Range keys = {0, num_keys_};
    if (window_ > 0) keys.begin = max(keys.begin, first - window_ + 1);
    if (is_causal_) {
      keys.end = min(keys.end, last + 1);
    } else if (window_ > 0) {
      keys.end = min(keys.end, last + window_);
    }
    return keys;
  }

  // The queries that causality and window let see any of the keys.
  __device__ Range queries_of(Range keys) const {
    Range queries = {0, num_queries_};
    if (is_causal_) {
      queries.begin = max(queries.begin, keys.begin - shift_);
    } else if (window_ > 0) {
      queries.begin = max(queries.begin, keys.begin - window_ + 1 - shift_);
    }
    if (window_ > 0) queries.end = min(queries.end, keys.end - 1 + window_ - shift_);
    return queries;
  }

  // Those of the keys that lie between the first and the last of the queries' documents, which may be none.
  // The lanes of a warp call it together, with the same arguments.
  __device__ Range keys_of_documents(Range queries, Range keys) const {
    if (query_documents_ == nullptr || keys.end <= keys.begin) return keys;
    const int first = document_of_query(queries.begin), last = document_of_query(queries.end - 1);
    return {partition_point(keys, [&](int key) { return document_of_key(key) < first; }),
            partition_point(keys, [&](int key) { return document_of_key(key) <= last; })};
  }
  // The other way round.
  __device__ Range queries_of_documents(Range keys, Range queries) const {
    if (!has_documents() || queries.end <= queries.begin) return queries;
    const int first = document_of_key(keys.begin), last = document_of_key(keys.end - 1);
    return {partition_point(queries, [&](int query) { return document_of_query(query) < first; }),
            partition_point(queries, [&](int query) { return document_of_query(query) <= last; })};
  }

  // REQUIRES: both ranges are nonempty and lie within the sequence.
  __device__ Sight sight(Range queries, Range keys) const {
    const int first = queries.begin + shift_, last = queries.end - 1 + shift_;
    bool all = true;
    if (is_causal_) {
      if (keys.begin > last) return Sight::kNone;
      all = keys.end - 1 <= first;
    }
    if (window_ > 0) {
      if (keys.end - 1 <= first - window_) return Sight::kNone;
      if (!is_causal_ && keys.begin >= last + window_) return Sight::kNone;
      all = all && keys.begin > last - window_ && (is_causal_ || keys.end - 1 < first + window_);
    }
    if (query_documents_ != nullptr) {
      const int first_query = document_of_query(queries.begin);
      const int last_query = document_of_query(queries.end - 1);
      const int first_key = document_of_key(keys.begin), last_key = document_of_key(keys.end - 1);
      // Documents don't fall along a row.
      if (last_query < first_key || last_key < first_query) return Sight::kNone;
      all = all && first_query == last_query && first_key == last_key;
    }
    return all ? Sight::kAll : Sight::kSome;
  }

  // Whether a query of the document (0 if there are none) sees a key.  REQUIRES: key < S.
  __device__ bool sees(int query, int query_document, int key) const {
    const int distance = query + shift_ - key;
    if (is_causal_ && distance < 0) return false;
    if (window_ > 0 && abs(distance) >= window_) return false;
    return !has_documents() || document_of_key(key) == query_document;
  }
  __device__ bool has_documents() const { return query_documents_ != nullptr; }
  // 0 if there are none.
  __device__ int document_of_query(int query) const {
    return has_documents() ? query_documents_[std::int64_t{fresh(sequence_)} * num_queries_ + query] : 0;
  }
  // REQUIRES: has_documents().
  __device__ int document_of_key(int key) const {
    return key_documents_[std::int64_t{fresh(sequence_)} * num_keys_ + key];
  }

  __device__ bool has_bias() const { return slope_ != 0.0F; }
  // What ALiBi adds to a score.
  __device__ float bias(int query, int key) const {
    return -slope_ * static_cast<float>(abs(query + shift_ - key));
  }

 private:
  // The first place in the range for which `is_before`, true up to some place, is false.
  template <typename Predicate>
  __device__ static int partition_point(Range range, Predicate is_before) {
    while (range.begin < range.end) {
      // One probe of each lane, evenly spread.
      const int step = (range.end - range.begin + 31) / 32;
      const int probe = range.begin + static_cast<int>(threadIdx.x % 32) * step;
      const int passed = __popc(__ballot_sync(0xFFFFFFFFu, probe < range.end && is_before(probe)));
      range.end = min(range.end, range.begin + passed * step);
      if (passed > 0) range.begin += (passed - 1) * step + 1;
    }
    return range.begin;
  }

  // All but the sequence and the slope are what the kernel was given, and take no registers.
  int shift_, num_queries_, num_keys_, window_;
  bool is_causal_;
  int sequence_;
  const int* query_documents_;
  const int* key_documents_;
  float slope_;
};

}  // namespace trireme::cuda
