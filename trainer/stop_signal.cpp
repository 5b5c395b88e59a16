#include "trainer/stop_signal.h"

#include <csignal>

#include <glog/logging.h>

namespace trireme {
namespace {

constexpr int kSignals[] = {SIGINT, SIGTERM, SIGUSR1};

volatile std::sig_atomic_t last_signal = 0;

void remember(int signal) {
  if (signal == SIGINT && last_signal == SIGINT) {
    std::signal(SIGINT, SIG_DFL);
    std::raise(SIGINT);
  }
  last_signal = signal;
}

void set_handlers(void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  for (const int signal : kSignals) PCHECK(sigaction(signal, &action, nullptr) == 0);
}

}  // namespace

StopSignal::StopSignal() {
  last_signal = 0;
  set_handlers(remember);
}

StopSignal::~StopSignal() {
  set_handlers(SIG_DFL);
  // "Save and leave", which comes too late to a process that is about to leave: nothing is lost by it.
  std::signal(SIGUSR1, SIG_IGN);
}

int StopSignal::received() const {
  return last_signal;
}

}  // namespace trireme
