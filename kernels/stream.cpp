#include "kernels/stream.h"

#include <glog/logging.h>

#include "kernels/cuda/runtime.h"

namespace trireme {

int num_devices(DeviceType type) {
  if (type == DeviceType::kCpu) return 1;
  if constexpr (kHasCuda) return cuda::num_devices();
  return 0;
}

void Stream::synchronize() const {
  if constexpr (kHasCuda) {
    if (!device_.is_cpu()) cuda::synchronize(*cuda_);
  }
}

bool Stream::is_done() const {
  if constexpr (kHasCuda) return device_.is_cpu() || cuda::is_done(*cuda_);
  return true;
}

DeviceStream::DeviceStream(Device device) : device_(device) {
  if (device.is_cpu()) return;
  CHECK(kHasCuda) << "this build has no CUDA";
  if constexpr (kHasCuda) cuda_.reset(cuda::make_stream(device));
}

DeviceStream::~DeviceStream() = default;

void DeviceStream::DeleteCuda::operator()([[maybe_unused]] cuda::StreamState* state) const {
  if constexpr (kHasCuda) cuda::destroy(state);
}

Event::Event(Device device) : device_(device) {
  if (device.is_cpu()) return;
  CHECK(kHasCuda) << "this build has no CUDA";
  if constexpr (kHasCuda) cuda_ = cuda::make_event(device);
}

Event::~Event() {
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) cuda::destroy_event(cuda_);
  }
}

void Event::record(Stream stream) {
  CHECK(stream.device() == device_) << "an event of " << device_.to_string() << " recorded on "
                                    << stream.device().to_string();
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) cuda::record(cuda_, *stream.cuda());
  }
}

void Event::make_wait(Stream stream) const {
  if constexpr (kHasCuda) {
    if (cuda_ == nullptr) return;
    if (stream.device().is_cpu()) return synchronize();
    cuda::make_wait(*stream.cuda(), cuda_);
  }
}

void Event::synchronize() const {
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) cuda::synchronize_event(cuda_);
  }
}

bool Event::is_reached() const {
  if constexpr (kHasCuda) {
    if (cuda_ != nullptr) return cuda::is_reached(cuda_);
  }
  return true;
}

}  // namespace trireme
