#include "kernels/cuda/timing.h"

#include <algorithm>
#include <cmath>
#include <vector>

#include "kernels/cuda/check.h"
#include "kernels/cuda/stream_state.h"

namespace trireme::cuda {
namespace {

class TimedEvent {
 public:
  TimedEvent() { TRIREME_CUDA(cudaEventCreate(&handle_)); }
  ~TimedEvent() { cudaEventDestroy(handle_); }
  TimedEvent(const TimedEvent&) = delete;
  TimedEvent& operator=(const TimedEvent&) = delete;
  cudaEvent_t handle() const { return handle_; }

 private:
  cudaEvent_t handle_ = nullptr;
};

}  // namespace

double elapsed_ms(const std::function<void()>& give, Stream stream) {
  cudaStream_t const handle = stream.cuda()->handle();
  const TimedEvent begin, end;
  TRIREME_CUDA(cudaEventRecord(begin.handle(), handle));
  give();
  TRIREME_CUDA(cudaEventRecord(end.handle(), handle));
  TRIREME_CUDA(cudaEventSynchronize(end.handle()));
  float ms = 0.0F;
  TRIREME_CUDA(cudaEventElapsedTime(&ms, begin.handle(), end.handle()));
  return static_cast<double>(ms);
}

double time_ms(const std::function<void()>& call, Stream stream, int repetitions) {
  const auto time = [&](int calls) {
    const auto give = [&] {
      for (int i = 0; i < calls; ++i) call();
    };
    return elapsed_ms(give, stream) / calls;
  };
  time(1);
  if (repetitions == 1) return time(1);
  // The device is busy with one while the host launches the next.
  constexpr double kEnoughMs = 2.0;
  const int calls = static_cast<int>(std::clamp(std::ceil(kEnoughMs / time(1)), 1.0, 100.0));
  std::vector<double> times(static_cast<std::size_t>(repetitions));
  for (double& ms : times) ms = time(calls);
  const auto median = times.begin() + repetitions / 2;
  std::nth_element(times.begin(), median, times.end());
  return *median;
}

}  // namespace trireme::cuda
