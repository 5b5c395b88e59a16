#include "trainer/checkpoint/pieces.h"

#include <algorithm>
#include <string>
#include <unordered_map>
#include <utility>

#include <glog/logging.h>

#include "trainer/checkpoint/slices.h"

namespace trireme {
namespace {

// Adds what is common to the piece and `range` of the rank's own memory.
void add_common(std::vector<Piece>& pieces, const Piece& piece, const FlatRange& range) {
  const std::int64_t begin = std::max(piece.own, range.begin);
  const std::int64_t end = std::min(piece.own + piece.size, range.end);
  if (begin < end)
    pieces.push_back({.whole = piece.whole + begin - piece.own, .own = begin, .size = end - begin});
}

// Adds the piece to the copies where it is in one of the ranges of the rank's own memory, to the owned
// elsewhere.  The ranges begin in ascending order; they may overlap.
void add_parted(CheckpointPieces& pieces, const Piece& piece, const std::vector<FlatRange>& not_owned) {
  std::int64_t begin = piece.own;
  for (const FlatRange& range : not_owned) {
    add_common(pieces.owned, piece, {begin, range.begin});
    add_common(pieces.copies, piece, {std::max(begin, range.begin), range.end});
    begin = std::max(begin, range.end);
  }
  add_common(pieces.owned, piece, {begin, piece.own + piece.size});
}

// Where in the flat memory lies what ranks before this one have, too.
std::vector<FlatRange> owned_by_others(const Parameter& parameter) {
  std::vector<FlatRange> ranges;
  for (const Replica& replica : parameter.replicas) {
    if (replica.group->rank() > 0)
      ranges.push_back({parameter.offset + replica.elements.begin, parameter.offset + replica.elements.end});
  }
  std::sort(ranges.begin(), ranges.end(),
            [](const FlatRange& a, const FlatRange& b) { return a.begin < b.begin; });
  return ranges;
}

// A pipeline stage may have its layers in another order than the whole model.
void sort(std::vector<Piece>& pieces) {
  const auto before = [](const Piece& a, const Piece& b) { return a.whole < b.whole; };
  if (!std::is_sorted(pieces.begin(), pieces.end(), before)) std::sort(pieces.begin(), pieces.end(), before);
}

// What of the pieces is in the shard.
std::vector<Piece> in_shard(const std::vector<Piece>& pieces, const ShardedLayout& layout, int rank) {
  std::vector<Piece> found;
  for (const Piece& piece : pieces) {
    const FlatRange buckets = layout.buckets_of({piece.own, piece.own + piece.size});
    for (auto bucket = static_cast<int>(buckets.begin); bucket < buckets.end; ++bucket) {
      const FlatRange part = layout.part(bucket, rank);
      add_common(found, piece, part);
    }
  }
  return found;
}

}  // namespace

CheckpointPieces pieces_of(const std::vector<CheckpointEntry>& layout) {
  CheckpointPieces pieces;
  for (const CheckpointEntry& entry : layout)
    pieces.owned.push_back({.whole = entry.offset, .own = entry.offset, .size = entry.shape.num_elements()});
  return pieces;
}

CheckpointPieces pieces_of(const ParameterBuffer& own, const std::vector<CheckpointEntry>& whole) {
  std::unordered_map<std::string, const CheckpointEntry*> entries;
  for (const CheckpointEntry& entry : whole) entries[entry.name] = &entry;
  CheckpointPieces pieces;
  for (const Parameter& parameter : own.parameters()) {
    const auto found = entries.find(parameter.name);
    CHECK(found != entries.end()) << "the whole model has no parameter " << parameter.name;
    const CheckpointEntry& entry = *found->second;
    CHECK(entry.shape == parameter.part.whole) << parameter.name;
    const std::vector<FlatRange> not_owned = owned_by_others(parameter);
    for_each_piece(parameter.part, [&](const Piece& piece) {
      add_parted(
          pieces,
          {.whole = entry.offset + piece.whole, .own = parameter.offset + piece.own, .size = piece.size},
          not_owned);
    });
  }
  sort(pieces.owned);
  sort(pieces.copies);
  return pieces;
}

// With data parallelism alone, a rank's share is what it writes, and nothing has to move.
CheckpointPieces replicated_over(Communicator& data, CheckpointPieces pieces, std::int64_t own_elements) {
  const FlatRange share = slice_of(own_elements, data.rank(), data.size());
  const std::vector<FlatRange> not_owned{{0, share.begin}, {share.end, own_elements}};
  CheckpointPieces parted{.owned = {}, .copies = std::move(pieces.copies)};
  for (const Piece& piece : pieces.owned) add_parted(parted, piece, not_owned);
  sort(parted.copies);
  return parted;
}

CheckpointPieces sharded_over(Communicator& data, const CheckpointPieces& pieces,
                              const ShardedLayout& layout) {
  return {.owned = in_shard(pieces.owned, layout, data.rank()),
          .copies = in_shard(pieces.copies, layout, data.rank())};
}

}  // namespace trireme
