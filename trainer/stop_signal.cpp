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

void set_handler(int signal, void (*handler)(int)) {
  struct sigaction action = {};
  action.sa_handler = handler;
  action.sa_flags = SA_RESTART;
  sigemptyset(&action.sa_mask);
  PCHECK(sigaction(signal, &action, nullptr) == 0);
}

}  // namespace

StopSignal::StopSignal() {
  last_signal = 0;
  for (const int signal : kSignals) set_handler(signal, remember);
}

StopSignal::~StopSignal() {
  // "Save and leave" comes too late to a process that is about to leave: nothing is lost by it.
  for (const int signal : kSignals) set_handler(signal, signal == SIGUSR1 ? SIG_IGN : SIG_DFL);
}

int StopSignal::received() const {
  return last_signal;
}

}  // namespace trireme
