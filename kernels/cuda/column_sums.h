// The second stage of sums over the rows of a matrix: the first leaves a row of sums for each range of rows.
#pragma once

#include <cstdint>

#include "kernels/stream.h"

namespace trireme::cuda {

// Rows of the first stage's ranges, which are `num_ranges(num_rows)`.  Both depend on the number of rows
// alone, and so does the order of the sums: many ranges keep a GPU busy, and long ones keep the second stage
// short.
constexpr std::int64_t rows_per_range(std::int64_t num_rows) {
  constexpr std::int64_t kMaxRanges = 512;
  constexpr std::int64_t kMinRows = 8;
  const std::int64_t rows = (num_rows + kMaxRanges - 1) / kMaxRanges;
  return rows < kMinRows ? kMinRows : rows;
}
constexpr std::int64_t num_ranges(std::int64_t num_rows) {
  return (num_rows + rows_per_range(num_rows) - 1) / rows_per_range(num_rows);
}

// first[c] += the sum over r of partial[r, c], and second[c] += that of partial[r, width + c], for c < width.
// `second` may be null: partial then has rows of `width`.
void add_column_sums(float* first, float* second, const float* partial, std::int64_t num_ranges,
                     std::int64_t width, const Stream& stream);

}  // namespace trireme::cuda
