#include "tests/vgpu/runtime/library.h"

#include <cstring>
#include <functional>
#include <memory>
#include <utility>
#include <vector>

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"
#include "tests/vgpu/runtime/rows.h"

namespace trireme::vgpu {
namespace {

struct Operand {
  VgpuOperand asked;
  Side side;
};

void check(const std::vector<Operand>& operands, const Running& running, const std::string& call) {
  for (const auto& [asked, side] : operands) {
    if (asked.is_read) {
      check_order(side, running, asked.width, asked.height, Access::kRead, call);
      check_written(side, asked.width, asked.height, "read", call);
    }
    if (asked.is_written) check_order(side, running, asked.width, asked.height, Access::kWrite, call);
  }
}

void mark_written(const std::vector<Operand>& operands) {
  for (const auto& [asked, side] : operands) {
    for (size_t n = 0; asked.is_written && n < asked.height; ++n)
      std::memset(side.region->state(side.rows.row(n)), kWritten, asked.width);
  }
}

using Execute = std::function<bool(uint8_t* const*)>;

// `begin` is called when it is put into the stream, and what it gives when it is its turn.
cudaError_t submit(const char* name, cudaStream_t stream_handle, const VgpuOperand* asked, int num_operands,
                   std::function<Execute(OpId)> begin) {
  return api_call(name, [&] {
    Stream* const stream = stream_of(stream_handle);
    if (!stream) return cudaErrorInvalidResourceHandle;
    const cudaError_t error = Streams::get().refuse_use(*stream);
    if (error != cudaSuccess) return error;
    std::vector<Operand> operands;
    for (int i = 0; i < num_operands; ++i) {
      const VgpuOperand& operand = asked[i];
      const Side side = side_of(operand.begin, operand.pitch, operand.width, operand.height);
      if (!side.is_device)
        give_up(Finding::kHostPointer, text("operand ", i, " is not memory of a device"), where_called());
      if (side.region->device() != stream->device())
        give_up(Finding::kOtherDevice, text("operand ", i, " is memory of device ", side.region->device()),
                where_called());
      operands.push_back({operand, side});
    }
    const auto begin_checked = [=, call = where_called()](OpId id) -> Attempt {
      return [=, execute = begin(id), checked = false](const Running& running) mutable {
        if (!checked) check(operands, running, call);
        checked = true;
        std::vector<uint8_t*> bytes;
        for (const Operand& operand : operands)
          bytes.push_back(bytes_at(operand.side, operand.side.rows.begin));
        if (!execute(bytes.data())) return false;
        mark_written(operands);
        return true;
      };
    };
    if (!stream->capture()) ++RuntimeState::get().counters.library_calls;
    Streams::get().submit_joint(*stream, name, begin_checked);
    return cudaSuccess;
  });
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

cudaError_t vgpu_submit(const char* name, cudaStream_t stream, const VgpuOperand* asked, int num_operands,
                        void (*execute)(void*, uint8_t* const*), void* context, void (*release)(void*)) {
  const std::shared_ptr<void> owner(context, release);
  const Execute once = [=](uint8_t* const* bytes) {
    execute(owner.get(), bytes);
    return true;
  };
  return submit(name, stream, asked, num_operands, [=](OpId) { return once; });
}

cudaError_t vgpu_submit_joint(const char* name, cudaStream_t stream, const VgpuOperand* asked,
                              int num_operands, VgpuJoint joint, void* context) {
  const std::shared_ptr<void> owner(context, joint.release);
  return submit(name, stream, asked, num_operands, [=](OpId op) -> Execute {
    const std::shared_ptr<void> begun(joint.begin(owner.get(), op), joint.end);
    return [=](uint8_t* const* bytes) { return joint.attempt(begun.get(), bytes) != 0; };
  });
}

int vgpu_advance(uint32_t op) {
  RuntimeState& state = RuntimeState::get();
  const std::unique_lock lock(state.mutex, std::try_to_lock);
  if (!lock) return -1;
  return Streams::get().advance(op) ? 1 : 0;
}

void vgpu_on_stuck(void (*stuck)(double)) {
  const std::lock_guard lock(RuntimeState::get().mutex);
  Streams::get().on_stuck(stuck);
}

int vgpu_device_of(cudaStream_t stream_handle) {
  const std::lock_guard lock(RuntimeState::get().mutex);
  const Stream* const stream = stream_of(stream_handle);
  return stream ? stream->device() : -1;
}

void vgpu_give_up(const char* finding, const char* what) {
  give_up(finding_by_name(finding), what);
}
