// launch/mpirun.sh, with a script in the place of the program.
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <thread>
#include <vector>

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/launch/shell.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

class Mpirun : public testing::Test {
 protected:
  ~Mpirun() override {
    if (wrapper_ > 0) ::kill(-wrapper_, SIGKILL);
  }

  // Starts launch/mpirun.sh with two ranks of a bash script, in a session of its own as a terminal would.
  void start(const std::string& rank_script, std::vector<std::string> arguments = {"run.toml", "a.b=c d"}) {
    const std::string program = folder_ / "program";
    std::ofstream(program) << "#!/usr/bin/env bash\ncd " << folder_.path().string() << "\n" << rank_script;
    std::filesystem::permissions(program, std::filesystem::perms::owner_all);
    wrapper_ = ::fork();
    if (wrapper_ != 0) return;
    ::setsid();
    ::setenv("TRIREME", program.c_str(), 1);
    // Loopback only: a test opens no socket to the world.
    ::setenv("MPIRUN_OPTIONS", "--mca btl self,vader --mca oob_tcp_if_include lo", 1);
    const int out = ::open((folder_ / "out").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    const int errors = ::open((folder_ / "errors").c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
    ::dup2(out, STDOUT_FILENO);
    ::dup2(errors, STDERR_FILENO);
    arguments.insert(arguments.begin(), {TRIREME_SOURCE_DIR "/launch/mpirun.sh", "2"});
    std::vector<char*> words;
    for (std::string& word : arguments) words.push_back(word.data());
    words.push_back(nullptr);
    ::execv(words.front(), words.data());
    ::_exit(127);
  }

  // Both ranks have made their file of this name.
  void wait_for(const std::string& name) {
    for (int i = 0; i < 600 && !made(name); ++i) std::this_thread::sleep_for(std::chrono::milliseconds(50));
    ASSERT_TRUE(made(name)) << read("errors");
  }
  bool made(const std::string& name) {
    return std::filesystem::exists(folder_ / (name + ".0")) &&
           std::filesystem::exists(folder_ / (name + ".1"));
  }

  void make(const std::string& name) { std::ofstream(folder_ / name); }

  void signal_wrapper(int signal) { ::kill(wrapper_, signal); }
  // Ctrl-C: to every process in the foreground of the terminal.
  void control_c() { ::kill(-wrapper_, SIGINT); }

  int exit_code() {
    int status = 0;
    ::waitpid(wrapper_, &status, 0);
    wrapper_ = 0;
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  std::string read(const std::string& name) {
    std::ostringstream text;
    text << std::ifstream(folder_ / name).rdbuf();
    return text.str();
  }

 private:
  TempDir folder_;
  pid_t wrapper_ = 0;
};

// mpirun ends the others as soon as one has left with 85, so a rank waits for the other to have saved.
const char* const kSaveOnSignal =
    "trap 'touch saved.$OMPI_COMM_WORLD_RANK; "
    "until [ -e saved.0 -a -e saved.1 ]; do sleep 0.05; done; exit 85' USR1\n"
    "touch ready.$OMPI_COMM_WORLD_RANK\n"
    "for i in $(seq 300); do sleep 0.1; done\n";

TEST_F(Mpirun, PassesTheConfigAndOverridesToEveryRank) {
  start("printf '%s|' $OMPI_COMM_WORLD_RANK \"$@\" > args.$OMPI_COMM_WORLD_RANK\n");
  EXPECT_EQ(exit_code(), 0) << read("errors");
  EXPECT_EQ(read("args.0"), "0|train|run.toml|a.b=c d|");
  EXPECT_EQ(read("args.1"), "1|train|run.toml|a.b=c d|");
}

TEST_F(Mpirun, ChecksLayoutsWhereAsked) {
  start("printf '%s|' \"$@\" > args.$OMPI_COMM_WORLD_RANK\n", {"check", "run.toml", "--layouts", "tp=2"});
  EXPECT_EQ(exit_code(), 0) << read("errors");
  EXPECT_EQ(read("args.1"), "check|run.toml|--layouts|tp=2|");
}

// As `check` does when a layout fails: all ranks leave, and what they printed is the reason.
TEST_F(Mpirun, AFailedCheckIsNotExplainedAgain) {
  start("echo FAIL; exit 1\n", {"check", "run.toml", "--layouts", "tp=2"});
  EXPECT_EQ(exit_code(), 1);
  EXPECT_EQ(read("errors"), "");
}

TEST_F(Mpirun, SaysThatThereIsNoTerminal) {
  start("[ $OMPI_COMM_WORLD_RANK = 0 ] && echo \"terminal $TRIREME_TERMINAL\"; exit 0\n");
  EXPECT_EQ(exit_code(), 0) << read("errors");
  EXPECT_EQ(read("out"), "terminal 0\n");
}

TEST_F(Mpirun, AMistakeIsTheOnlyThingTold) {
  // mpirun ends the others as soon as one has left, so rank 0 speaks first, as in main.cpp.
  start(
      "if [ $OMPI_COMM_WORLD_RANK = 0 ]; then echo 'trireme: a mistake' >&2; touch said; fi\n"
      "until [ -e said ]; do sleep 0.05; done\nexit 2\n");
  EXPECT_EQ(exit_code(), 2);
  EXPECT_EQ(read("errors"), "trireme: a mistake\n");
}

TEST_F(Mpirun, ARankThatIsKilledIsNamedAndEndsTheJob) {
  // mpirun names it if all ranks had been started.
  start(
      "touch ready.$OMPI_COMM_WORLD_RANK\nuntil [ -e kill ]; do sleep 0.1; done\n"
      "[ $OMPI_COMM_WORLD_RANK = 1 ] && kill -9 $$\nsleep 60\n");
  wait_for("ready");
  std::this_thread::sleep_for(std::chrono::seconds(1));
  const auto begin = std::chrono::steady_clock::now();
  make("kill");
  EXPECT_EQ(exit_code(), 137);
  EXPECT_NE(read("errors").find("rank 1"), std::string::npos) << read("errors");
  EXPECT_NE(read("errors").find("a rank was ended by SIGKILL"), std::string::npos) << read("errors");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST_F(Mpirun, ARankThatIsKilledAtTheStartEndsTheJobAudibly) {
  start("[ $OMPI_COMM_WORLD_RANK = 1 ] && kill -9 $$\nsleep 60\n");
  EXPECT_EQ(exit_code(), 137);
  EXPECT_NE(read("errors").find("a rank was ended by SIGKILL"), std::string::npos) << read("errors");
}

class MpirunSignal : public Mpirun, public testing::WithParamInterface<int> {};

TEST_P(MpirunSignal, MakesEveryRankSave) {
  start(kSaveOnSignal);
  wait_for("ready");
  signal_wrapper(GetParam());
  EXPECT_EQ(exit_code(), 85) << read("errors");
  EXPECT_TRUE(made("saved"));
}

INSTANTIATE_TEST_SUITE_P(, MpirunSignal, testing::Values(SIGUSR1, SIGTERM, SIGHUP));

TEST_F(Mpirun, ControlCSavesAndIsNoFailure) {
  start(kSaveOnSignal);
  wait_for("ready");
  control_c();
  EXPECT_EQ(exit_code(), 0) << read("errors");
  EXPECT_TRUE(made("saved"));
}

TEST_F(Mpirun, ControlCTwiceEndsRanksThatDoNotLeave) {
  start(
      "trap 'touch asked.$OMPI_COMM_WORLD_RANK' USR1\ntouch ready.$OMPI_COMM_WORLD_RANK\n"
      "for i in $(seq 600); do sleep 0.1; done\n");
  wait_for("ready");
  control_c();
  wait_for("asked");
  const auto begin = std::chrono::steady_clock::now();
  control_c();
  EXPECT_NE(exit_code(), 0) << read("errors");
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(30));
}

TEST(MpirunUse, MistakesAreRefused) {
  const std::string script = TRIREME_SOURCE_DIR "/launch/mpirun.sh ";
  EXPECT_EQ(run_shell(script).exit_code, 2);
  EXPECT_EQ(run_shell(script + "two run.toml").exit_code, 2);
  EXPECT_EQ(run_shell(script + "0 run.toml").exit_code, 2);
  const Outcome no_program = run_shell("TRIREME=/no/such " + script + "2 run.toml");
  EXPECT_EQ(no_program.exit_code, 2);
  EXPECT_EQ(no_program.errors,
            "mpirun.sh: /no/such: no such program; build it with launch/build.sh, or set TRIREME\n");
}

}  // namespace
}  // namespace trireme
