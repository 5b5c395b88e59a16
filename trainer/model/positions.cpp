#include "trainer/model/positions.h"

#include <bit>
#include <cmath>
#include <initializer_list>
#include <utility>

#include "kernels/elementwise.h"
#include "kernels/rope.h"
#include "trainer/model/rope_frequencies.h"

namespace trireme {
namespace {

void fill_sinusoids(Tensor table_PC, std::int64_t first = 0) {
  const std::int64_t width = table_PC.dim(1);
  for (std::int64_t p = 0; p < table_PC.dim(0); ++p) {
    for (std::int64_t c = 0; c < width; ++c) {
      const double exponent = static_cast<double>(c / 2 * 2) / static_cast<double>(width);
      const double angle = static_cast<double>(first + p) / std::pow(10000.0, exponent);
      table_PC.data<float>()[p * width + c] =
          static_cast<float>(c % 2 == 0 ? std::sin(angle) : std::cos(angle));
    }
  }
}

void fill_alibi(Tensor slopes_H) {
  const auto heads = static_cast<std::uint64_t>(slopes_H.dim(0));
  const std::uint64_t power = std::bit_floor(heads);
  for (std::uint64_t h = 0; h < heads; ++h) {
    const double exponent = h < power
                                ? static_cast<double>(h + 1) / static_cast<double>(power)
                                : static_cast<double>(2 * (h - power) + 1) / static_cast<double>(2 * power);
    slopes_H.data<float>()[h] = static_cast<float>(std::exp2(-8.0 * exponent));
  }
}

}  // namespace

PositionTables::PositionTables(const TransformerOptions& options, Stream stream) {
  make(options);
  if (!stream.device().is_cpu()) move_to(stream);
}

void PositionTables::make(const TransformerOptions& options) {
  const auto floats = [&](std::int64_t count) { return count * size_bytes(DType::kFloat32); };
  if (options.loops > 1) {
    const Shape shape = {options.loops, options.width};
    loop_memory_ = Buffer(floats(shape.num_elements()));
    loop_signals_LC_ = loop_memory_.tensor(DType::kFloat32, shape);
    fill_sinusoids(loop_signals_LC_, /*first=*/1);
  }
  switch (options.positions) {
    case Positions::kSinusoidal: {
      const Shape shape = {options.context, options.width};
      memory_ = Buffer(floats(shape.num_elements()));
      sinusoids_PC_ = memory_.tensor(DType::kFloat32, shape);
      fill_sinusoids(sinusoids_PC_);
      break;
    }
    case Positions::kRope: {
      const Shape shape = {options.context, options.head_width / 2};
      memory_ = Buffer(2 * floats(shape.num_elements()));
      rope_cos_PD_ = memory_.tensor(DType::kFloat32, shape);
      rope_sin_PD_ = memory_.tensor(DType::kFloat32, shape, floats(shape.num_elements()));
      const RopeFrequencies frequencies = rope_frequencies(options);
      rope_table(rope_cos_PD_, rope_sin_PD_, frequencies.radians, frequencies.amplitude);
      break;
    }
    case Positions::kAlibi:
      memory_ = Buffer(floats(options.heads));
      alibi_slopes_H_ = memory_.tensor(DType::kFloat32, {options.heads});
      fill_alibi(alibi_slopes_H_);
      break;
    case Positions::kLearned:
    case Positions::kNone:
      break;
  }
}

void PositionTables::move_to(Stream stream) {
  const Device device = stream.device();
  const auto moved = [&](Buffer& memory, std::initializer_list<Tensor*> tables) {
    Buffer there(memory.size_bytes(), device);
    for (Tensor* const table : tables) {
      if (!*table) continue;
      const auto offset =
          static_cast<const char*>(table->raw_data()) - static_cast<const char*>(memory.data());
      const Tensor copied = there.tensor(table->dtype(), table->shape(), offset);
      copy(copied, *table, stream);
      *table = copied;
    }
    stream.synchronize();
    memory = std::move(there);
  };
  moved(memory_, {&sinusoids_PC_, &rope_cos_PD_, &rope_sin_PD_, &alibi_slopes_H_});
  moved(loop_memory_, {&loop_signals_LC_});
}

}  // namespace trireme
