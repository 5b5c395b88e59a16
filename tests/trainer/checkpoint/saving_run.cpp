// saving_run RUN loop [MILLISECONDS]: goes on from RUN's newest checkpoint, then saves one step after the
//   other and prints the step when it is saved.  Some time after the first, if given, the last rank kills
//   itself.
// saving_run RUN save STEP: saves one checkpoint.
// saving_run RUN check STEP: loads it and compares every bit.
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <string>
#include <thread>

#include "parallel/process.h"
#include "tests/trainer/checkpoint/small_state.h"

namespace trireme {
namespace {

void load(const std::string& run, SmallState& state, Process& process) {
  state.forget();
  const auto folder = load_newest_checkpoint(run, state.contents(), process.world());
  if (folder && !state.is_of_step(state.contents().state.step)) {
    std::fprintf(stderr, "%s: rank %d loaded other numbers\n", folder->c_str(), process.rank());
    process.abort(9);
  }
}

void kill_this_rank_in(std::int64_t milliseconds) {
  std::thread([milliseconds] {
    std::this_thread::sleep_for(std::chrono::milliseconds(milliseconds));
    std::raise(SIGKILL);
  }).detach();
}

void loop(const std::string& run, std::int64_t milliseconds, Process& process) {
  SmallState state(0, process.world());
  if (process.rank() == 0) clean_checkpoints(run);
  process.world().barrier();
  load(run, state, process);
  const std::int64_t first = state.contents().state.step + 1;
  for (std::int64_t step = first;; ++step) {
    state.set_step(step);
    const auto failure = save_checkpoint(run, state.contents(), {.last = 2, .every = 10}, process.world());
    if (step == first && milliseconds > 0 && process.rank() == process.num_ranks() - 1)
      kill_this_rank_in(milliseconds);
    if (process.rank() > 0) continue;
    if (failure) {
      std::fprintf(stderr, "%s\n", failure->c_str());
    } else {
      std::printf("%lld\n", static_cast<long long>(step));
      std::fflush(stdout);
    }
  }
}

int run(const std::string& run, const std::string& command, std::int64_t number, Process& process) {
  SmallState state(number, process.world());
  if (command == "save") return save_checkpoint(run, state.contents(), {}, process.world()) ? 1 : 0;
  if (command == "check") {
    load(run, state, process);
    return state.is_of_step(number) ? 0 : 1;
  }
  loop(run, number, process);
  return 0;
}

}  // namespace
}  // namespace trireme

int main(int argc, char** argv) {
  trireme::Process process(&argc, &argv);
  try {
    return trireme::run(argv[1], argv[2], argc > 3 ? std::atoll(argv[3]) : 0, process);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "%s\n", error.what());
    process.abort(2);
  }
}
