// Which part of a parameter a rank has, where several ranks share it.
#pragma once

#include <cstdint>
#include <functional>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/flat_range.h"

namespace trireme {

// Some rows of the whole parameter, and of each the same columns; both ascend.  Rows are of its first
// dimension, columns of all others, flattened; of a vector, the only column is 0.
struct ParameterPart {
  Shape whole;
  std::vector<FlatRange> rows;
  FlatRange columns;

  static ParameterPart all_of(Shape whole);
  static ParameterPart rows_of(Shape whole, const std::vector<FlatRange>& rows);
  static ParameterPart columns_of(Shape whole, FlatRange columns);

  bool is_whole() const { return shape() == whole; }
  // The part's own: a matrix, or a vector.  Of a whole one that of the whole.
  Shape shape() const;
};

// A stretch of elements that lie together in the whole and in the rank's own memory.
struct Piece {
  std::int64_t whole = 0;  // the first one's place in the whole
  std::int64_t own = 0;    // and here
  std::int64_t size = 0;

  bool operator==(const Piece&) const = default;
};

// The part's pieces, in order; the longest that there are.
void for_each_piece(const ParameterPart& part, const std::function<void(const Piece&)>& body);

// Elements of a rank's part that other ranks have, too, at the same place of a part of theirs.  Rank 0 of the
// group owns them: it alone counts them in the norm of the gradient and saves them.
struct Replica {
  Communicator* group = nullptr;
  FlatRange elements;  // of the part
  // Each rank's gradient is a part of the sum, which the reducer makes.  Otherwise all have the whole
  // gradient, the same bits.
  bool is_partial = false;
  // Its ranks are stages of a pipeline, which get to this gradient at different times.
  bool spans_stages = false;
};

}  // namespace trireme
