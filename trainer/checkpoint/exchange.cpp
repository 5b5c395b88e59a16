#include "trainer/checkpoint/exchange.h"

#include <algorithm>
#include <cstdint>
#include <utility>

#include <glog/logging.h>

#include "kernels/elementwise.h"
#include "kernels/paged_buffer.h"
#include "kernels/stream.h"
#include "trainer/checkpoint/agreement.h"
#include "trainer/checkpoint/stretch_messages.h"

namespace trireme {
namespace {

// What ranks tell each other of a window.
using List = std::vector<std::int32_t>;
using Lists = std::vector<List>;  // to, or from, each rank

// Calls body with each piece, cut to this range of the whole.
template <typename Body>
void for_each_in(const FlatRange& range, const std::vector<Piece>& pieces, const Body& body) {
  auto piece = std::partition_point(pieces.begin(), pieces.end(), [&](const Piece& candidate) {
    return candidate.whole + candidate.size <= range.begin;
  });
  for (; piece != pieces.end() && piece->whole < range.end; ++piece) {
    const std::int64_t begin = std::max(piece->whole, range.begin);
    const std::int64_t end = std::min(piece->whole + piece->size, range.end);
    body(Piece{.whole = begin, .own = piece->own + begin - piece->whole, .size = end - begin});
  }
}

// A tensor in the host's memory: itself or, of one on a device, a copy of its pieces.
class OnHost {
 public:
  explicit OnHost(const CheckpointTensor& tensor) : original_(tensor), copy_(tensor) {
    if (is_original()) return;
    const Tensor& values = original_.values;
    memory_ = PagedBuffer(values.num_elements() * size_bytes(values.dtype()), Pages::kSmall);
    copy_.values = memory_.tensor(values.dtype(), values.shape());
  }

  const CheckpointTensor& tensor() const { return copy_; }
  void from_device() const { copy_pieces(copy_.values, original_.values); }
  void to_device() const { copy_pieces(original_.values, copy_.values); }

 private:
  bool is_original() const { return original_.values.device().is_cpu(); }

  void copy_pieces(const Tensor& to, const Tensor& from) const {
    if (is_original()) return;
    const DeviceStream stream(original_.values.device());
    for (const auto* pieces : {&original_.pieces.owned, &original_.pieces.copies}) {
      for (const Piece& piece : *pieces) {
        const std::int64_t end = piece.own + piece.size;
        copy(to.slice(0, piece.own, end), from.slice(0, piece.own, end), stream);
      }
    }
    Stream(stream).synchronize();
  }

  const CheckpointTensor& original_;
  CheckpointTensor copy_;
  PagedBuffer memory_;
};

std::span<float> memory_of(const Piece& piece, const CheckpointTensor& tensor) {
  CHECK_LE(piece.own + piece.size, tensor.values.num_elements()) << tensor.name;
  return {tensor.values.data<float>() + piece.own, static_cast<std::size_t>(piece.size)};
}

Stretches memory_of(const std::vector<Piece>& pieces, const FlatRange& window,
                    const CheckpointTensor& tensor) {
  Stretches stretches;
  for_each_in(window, pieces, [&](const Piece& piece) { stretches.push_back(memory_of(piece, tensor)); });
  return stretches;
}

std::span<float> part_of(std::span<float> window, const FlatRange& part) {
  CHECK(0 <= part.begin && part.begin <= part.end && part.end <= std::ssize(window));
  return window.subspan(static_cast<std::size_t>(part.begin), static_cast<std::size_t>(part.size()));
}

// Places in a window are two numbers of a list.
void add_place(List& list, const Piece& piece, const FlatRange& window) {
  list.push_back(static_cast<std::int32_t>(piece.whole - window.begin));
  list.push_back(static_cast<std::int32_t>(piece.size));
}

void add_places(List& list, const std::vector<Piece>& pieces, const FlatRange& window) {
  for_each_in(window, pieces, [&](const Piece& piece) { add_place(list, piece, window); });
}

FlatRange place_at(const List& list, std::size_t i) {
  return {list[i], std::int64_t{list[i]} + list[i + 1]};
}

// What a rank has of another one's window.  Its copies are compared by their checksums, and not sent.
struct Offer {
  struct Copy {
    FlatRange place;
    std::uint64_t checksum;
  };
  std::vector<FlatRange> owned;  // in the window
  std::vector<Copy> copies;
};

// The number of owned pieces, their places, then place and checksum of each copy.
List list_offer(const CheckpointTensor& tensor, const FlatRange& window) {
  List list{0};
  add_places(list, tensor.pieces.owned, window);
  list[0] = static_cast<std::int32_t>(list.size() / 2);
  for_each_in(window, tensor.pieces.copies, [&](const Piece& piece) {
    const std::uint64_t checksum = checksum_of(std::as_bytes(memory_of(piece, tensor)));
    add_place(list, piece, window);
    list.push_back(static_cast<std::int32_t>(checksum >> 32));
    list.push_back(static_cast<std::int32_t>(checksum));
  });
  return list.size() == 1 ? List{} : list;
}

Offer offer_of(const List& list) {
  Offer offer;
  if (list.empty()) return offer;
  const auto half_at = [&](std::size_t i) { return std::uint64_t{static_cast<std::uint32_t>(list[i])}; };
  const std::size_t end_of_owned = 1 + 2 * static_cast<std::size_t>(list[0]);
  for (std::size_t i = 1; i < end_of_owned; i += 2) offer.owned.push_back(place_at(list, i));
  for (std::size_t i = end_of_owned; i < list.size(); i += 4)
    offer.copies.push_back({.place = place_at(list, i), .checksum = half_at(i + 2) << 32 | half_at(i + 3)});
  return offer;
}

// This rank's window of a tensor, with what the ranks gave to it.
struct GatheredWindow {
  const CheckpointTensor& tensor;
  const std::vector<CheckpointEntry>& layout;
  FlatRange range;
  std::span<float> values;
  std::vector<Offer> offers;  // of each rank

  Stretches parts_from(int rank) const {
    Stretches parts;
    for (const FlatRange& place : offers[static_cast<std::size_t>(rank)].owned)
      parts.push_back(part_of(values, place));
    return parts;
  }

  // "adam_m of head.weight", if that is the first parameter in this part of the window; nothing in a gap.
  std::optional<std::string> name_of(const FlatRange& part) const {
    const FlatRange whole{range.begin + part.begin, range.begin + part.end};
    const auto found = std::partition_point(layout.begin(), layout.end(), [&](const CheckpointEntry& entry) {
      return entry.offset + entry.shape.num_elements() <= whole.begin;
    });
    if (found == layout.end() || found->offset >= whole.end) return std::nullopt;
    return tensor.name + " of " + found->name;
  }

  // Fills the gaps with zeros.  Says what came from no rank, or from several.
  std::optional<std::string> close_gaps() const {
    std::vector<FlatRange> owned;
    for (const Offer& offer : offers) owned.insert(owned.end(), offer.owned.begin(), offer.owned.end());
    std::sort(owned.begin(), owned.end(),
              [](const FlatRange& a, const FlatRange& b) { return a.begin < b.begin; });
    owned.push_back({range.size(), range.size()});
    std::int64_t end = 0;
    for (const FlatRange& next : owned) {
      if (next.begin < end) return "several ranks own " + name_of({next.begin, end}).value_or(tensor.name);
      const FlatRange gap{end, next.begin};
      end = next.end;
      if (gap.size() == 0) continue;
      if (const auto name = name_of(gap)) return "no rank owns " + *name;
      std::ranges::fill(part_of(values, gap), 0.0F);
    }
    return std::nullopt;
  }

  // Says which rank's copy is not what its owner has.
  std::optional<std::string> find_divergence() const {
    for (std::size_t rank = 0; rank < offers.size(); ++rank) {
      for (const Offer::Copy& copy : offers[rank].copies) {
        if (checksum_of(std::as_bytes(part_of(values, copy.place))) == copy.checksum) continue;
        return "rank " + std::to_string(rank) + " holds other " + name_of(copy.place).value_or(tensor.name) +
               " than its owner: the replicas have diverged";
      }
    }
    return std::nullopt;
  }
};

}  // namespace

std::optional<std::string> gather_slices(const CheckpointTensor& original,
                                         const std::vector<CheckpointEntry>& layout,
                                         const SliceWindows& windows,
                                         const std::function<void(std::span<const float>)>& take,
                                         Communicator& communicator) {
  const OnHost on_host(original);
  on_host.from_device();
  const CheckpointTensor& tensor = on_host.tensor();
  std::optional<std::string> failure;  // of this rank
  std::vector<float> values;
  for (int round = 0; round < windows.num_rounds(); ++round) {
    Lists lists;
    for (int peer = 0; peer < communicator.size(); ++peer)
      lists.push_back(list_offer(tensor, windows.window(peer, round)));
    lists = exchange_lists(std::move(lists), communicator);

    const FlatRange range = windows.window(communicator.rank(), round);
    values.resize(static_cast<std::size_t>(range.size()));
    GatheredWindow window{tensor, layout, range, values, {}};
    for (const List& list : lists) window.offers.push_back(offer_of(list));
    if (!failure) failure = window.close_gaps();
    if (auto any = agree_on(failure, communicator)) return any;

    StretchMessages messages(communicator);
    for (int peer = 0; peer < communicator.size(); ++peer) {
      messages.send(peer, memory_of(tensor.pieces.owned, windows.window(peer, round), tensor));
      messages.receive(peer, window.parts_from(peer));
    }
    messages.finish();
    failure = window.find_divergence();
    if (!failure) failure = failure_of([&] { take(values); }, communicator);
  }
  return agree_on(failure, communicator);
}

std::optional<std::string> scatter_slices(const CheckpointTensor& original, const SliceWindows& windows,
                                          const std::function<void(const FlatRange&, std::span<float>)>& fill,
                                          Communicator& communicator) {
  const OnHost on_host(original);
  const CheckpointTensor& tensor = on_host.tensor();
  std::vector<float> values;
  for (int round = 0; round < windows.num_rounds(); ++round) {
    const FlatRange range = windows.window(communicator.rank(), round);
    values.resize(static_cast<std::size_t>(range.size()));
    if (auto failure = attempt([&] { fill(range, values); }, communicator)) return failure;

    for (const auto* pieces : {&tensor.pieces.owned, &tensor.pieces.copies}) {
      Lists wishes;
      for (int peer = 0; peer < communicator.size(); ++peer)
        add_places(wishes.emplace_back(), *pieces, windows.window(peer, round));
      wishes = exchange_lists(std::move(wishes), communicator);

      StretchMessages messages(communicator);
      for (int peer = 0; peer < communicator.size(); ++peer) {
        Stretches parts;
        const List& wish = wishes[static_cast<std::size_t>(peer)];
        for (std::size_t i = 0; i < wish.size(); i += 2) parts.push_back(part_of(values, place_at(wish, i)));
        messages.send(peer, std::move(parts));
        messages.receive(peer, memory_of(*pieces, windows.window(peer, round), tensor));
      }
      messages.finish();
    }
  }
  on_host.to_device();
  return std::nullopt;
}

}  // namespace trireme
