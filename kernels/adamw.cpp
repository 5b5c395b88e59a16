#include "kernels/adamw.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"
#include "kernels/elementwise.h"

namespace trireme {

TRIREME_DECLARE(begin_update)
TRIREME_DECLARE(adamw_step)

AdamWTable::AdamWTable(const std::vector<AdamWStretch>& stretches, Device device) {
  std::vector<Piece> pieces;
  for (const auto& [first, end, weight_decay] : stretches) {
    CHECK(end_ <= first && first <= end) << "AdamWTable: [" << first << ", " << end << ") after " << end_;
    for (std::int64_t begin = first, next = first; begin < end; begin = next) {
      next = std::min(end, (begin / kMaxElements + 1) * kMaxElements);
      pieces.push_back(
          {.begin = begin, .size = static_cast<std::int32_t>(next - begin), .weight_decay = weight_decay});
    }
    end_ = end;
  }
  num_pieces_ = std::ssize(pieces);
  if (pieces.empty()) return;
  const auto num_words = static_cast<std::int64_t>(pieces.size() * sizeof(Piece) / sizeof(std::int32_t));
  memory_ = Buffer(num_words * size_bytes(DType::kInt32), device);
  const DeviceStream stream(device);  // its end waits for the copy
  copy(memory_.tensor(DType::kInt32, {num_words}), {pieces.data(), DType::kInt32, {num_words}}, stream);
}

void begin_update(Tensor factors, Tensor counts, Tensor norm_1, Tensor sum_of_squares_1, Tensor loss_1,
                  float max_norm, const AdamWOptions& options, Stream stream) {
  const OperandCheck check("begin_update", stream.device());
  check.operand("factors", factors, {kNumAdamWFactors});
  check.operand("counts", counts, {kNumUpdateCounts}, Layout::kContiguous, DType::kInt32);
  check.operand("norm", norm_1, {1});
  check.operand("sum_of_squares", sum_of_squares_1, {1});
  check.operand("loss", loss_1, {1});
  TRIREME_RUN(begin_update, stream)
  (factors, counts, norm_1, sum_of_squares_1, loss_1, max_norm, options, stream);
}

void adamw_step(Tensor param, Tensor rounded, Tensor m, Tensor v, Tensor grad, Tensor factors,
                const AdamWTable& table, const AdamWOptions& options, Stream stream) {
  const OperandCheck check("adamw_step", stream.device());
  const Shape flat = {param.num_elements()};
  check.operand("param", param, flat);
  check.optional("rounded", rounded, flat, Layout::kContiguous, DType::kBfloat16);
  check.operand("m", m, flat);
  check.operand("v", v, flat);
  check.operand("grad", grad, flat);
  check.operand("factors", factors, {kNumAdamWFactors});
  CHECK_LE(table.end(), param.num_elements()) << "adamw_step: the table goes on behind param";
  if (table.num_pieces() == 0) return;
  CHECK(table.device() == stream.device()) << "adamw_step: the table is on another device";
  TRIREME_RUN(adamw_step, stream)(param, rounded, m, v, grad, factors, table, options, stream);
}

}  // namespace trireme
