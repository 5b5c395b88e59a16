#include "parallel/parameter_part.h"

#include <glog/logging.h>

namespace trireme {
namespace {

std::int64_t columns_of_row(const Shape& whole) {
  return whole.num_elements() / whole[0];
}

}  // namespace

ParameterPart ParameterPart::all_of(Shape whole) {
  return rows_of(whole, {{0, whole[0]}});
}

ParameterPart ParameterPart::rows_of(Shape whole, const std::vector<FlatRange>& rows) {
  ParameterPart part{.whole = whole, .rows = {}, .columns = {0, columns_of_row(whole)}};
  for (const FlatRange& range : rows) {
    if (!part.rows.empty() && part.rows.back().end == range.begin) {
      part.rows.back().end = range.end;
    } else {
      part.rows.push_back(range);
    }
  }
  return part;
}

ParameterPart ParameterPart::columns_of(Shape whole, FlatRange columns) {
  return {.whole = whole, .rows = {{0, whole[0]}}, .columns = columns};
}

Shape ParameterPart::shape() const {
  Shape shape = whole;
  shape[0] = 0;
  for (const FlatRange& range : rows) shape[0] += range.size();
  if (columns.size() != columns_of_row(whole)) {
    CHECK_EQ(whole.num_dims(), 2) << whole.to_string();
    shape[1] = columns.size();
  }
  return shape;
}

void for_each_piece(const ParameterPart& part, const std::function<void(const Piece&)>& body) {
  const std::int64_t columns = columns_of_row(part.whole);
  std::int64_t own = 0;
  const auto add = [&](std::int64_t whole, std::int64_t size) {
    if (size > 0) body({.whole = whole, .own = own, .size = size});
    own += size;
  };
  for (const FlatRange& rows : part.rows) {
    if (part.columns.size() == columns) {
      add(rows.begin * columns, rows.size() * columns);
      continue;
    }
    for (std::int64_t row = rows.begin; row < rows.end; ++row)
      add(row * columns + part.columns.begin, part.columns.size());
  }
}

}  // namespace trireme
