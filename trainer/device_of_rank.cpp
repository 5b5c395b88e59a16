#include "trainer/device_of_rank.h"

#include "data/user_error.h"

namespace trireme {

Device device_of_rank(const std::string& type, const Process& process) {
  if (type == "cpu") return {};
  const std::string what = "device \"" + type + "\"";
  if (!kHasCuda) {
    throw UserError(what, "is not in this build",
                    "install the CUDA toolkit and build again, or use device cpu");
  }
  const int gpus = num_devices(DeviceType::kCuda);
  if (gpus == 0) {
    throw UserError(what, "finds no GPU that can be used",
                    "look at nvidia-smi and CUDA_VISIBLE_DEVICES, or use device cpu");
  }
  if (gpus == 1) return {.type = DeviceType::kCuda, .index = 0};
  if (process.num_local_ranks() > gpus) {
    throw UserError(what,
                    "has " + std::to_string(gpus) + " GPUs on this node, for " +
                        std::to_string(process.num_local_ranks()) + " ranks",
                    "start one rank for each GPU");
  }
  return {.type = DeviceType::kCuda, .index = process.local_rank()};
}

}  // namespace trireme
