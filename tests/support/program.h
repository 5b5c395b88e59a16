// Programs that tests start: what they print, how they end, signals on the way.
#pragma once

#include <cerrno>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/support/temp_dir.h"

namespace trireme {

class Program {
 public:
  explicit Program(std::vector<std::string> words) {
    pid_ = fork();
    if (pid_ != 0) return;
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    redirect(folder_ / "out", STDOUT_FILENO);
    redirect(folder_ / "err", STDERR_FILENO);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    execvp(arguments.front(), arguments.data());
    _exit(127);
  }
  ~Program() {
    if (pid_ > 0) {
      kill(SIGKILL);
      wait();
    }
  }
  Program(const Program&) = delete;
  Program& operator=(const Program&) = delete;

  void kill(int signal) const { ::kill(pid_, signal); }

  // Waits for its end.  The exit code, or 128 and the number of the signal that ended it, as a shell has it.
  int wait() {
    if (pid_ <= 0) return exit_code_;
    int status = 0;
    while (waitpid(pid_, &status, 0) < 0 && errno == EINTR) {
    }
    pid_ = -1;
    exit_code_ = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    return exit_code_;
  }

  // Waits until it has printed this text.  False when it ends, or a minute passes, without.
  bool wait_for_output(const std::string& text) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::minutes(1);
    while (std::chrono::steady_clock::now() < deadline) {
      if (output().find(text) != std::string::npos) return true;
      if (has_ended()) return output().find(text) != std::string::npos;
      std::this_thread::sleep_for(std::chrono::milliseconds(5));
    }
    return false;
  }

  std::string output() const { return contents("out"); }
  std::string errors() const { return contents("err"); }

 private:
  static void redirect(const std::string& file, int descriptor) {
    const int to = open(file.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    if (to < 0) _exit(126);
    dup2(to, descriptor);
  }
  // Leaves the end to be waited for.
  bool has_ended() const {
    siginfo_t info = {};
    return waitid(P_PID, static_cast<id_t>(pid_), &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid != 0;
  }
  std::string contents(const char* name) const {
    std::ifstream file(folder_ / name);
    std::ostringstream text;
    text << file.rdbuf();
    return text.str();
  }

  TempDir folder_;
  pid_t pid_ = -1;
  int exit_code_ = -1;
};

}  // namespace trireme
