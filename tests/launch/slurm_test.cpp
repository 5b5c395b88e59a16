// launch/slurm.sbatch, with scripts in the place of mpirun.sh and of Slurm.
#include <filesystem>
#include <fstream>
#include <string>

#include <gtest/gtest.h>

#include "tests/launch/shell.h"
#include "tests/support/temp_dir.h"

namespace trireme {
namespace {

class Slurm : public testing::Test {
 protected:
  // Runs the batch script where training does `mpirun_script` and the cluster's RequeueExit is as given.
  Outcome run(const std::string& mpirun_script, const std::string& requeue_exit,
              const std::string& environment = "", const std::string& meanwhile = "") {
    std::filesystem::create_directories(folder_ / "launch");
    script("launch/mpirun.sh", "echo \"$*\" > called\n" + mpirun_script);
    script("scontrol", "if [ \"$1\" = show ]; then echo 'RequeueExit             = " + requeue_exit +
                           "'; else echo \"$*\" >> scontrol.calls; fi\n");
    const std::string path = folder_.path().string();
    return run_shell(
        "cd " + path + "\nexport PATH=" + path + ":$PATH SLURM_SUBMIT_DIR=" + path +
        " SLURM_JOB_ID=7 SLURM_NNODES=2 SLURM_NTASKS_PER_NODE=4 SLURM_NTASKS=99 SLURM_JOB_NODELIST=n "
        "TRIREME_ROOT= " +
        environment + "\nbash " TRIREME_SOURCE_DIR "/launch/slurm.sbatch run.toml 'a.b=c d' &\njob=$!\n" +
        meanwhile + "\nwait $job");
  }
  std::string first_line(const std::string& name) {
    std::string line;
    std::ifstream file(folder_ / name);
    std::getline(file, line);
    return line;
  }

 private:
  void script(const std::string& name, const std::string& text) {
    std::ofstream(folder_ / name) << "#!/usr/bin/env bash\ncd " << folder_.path().string() << "\n" << text;
    std::filesystem::permissions(folder_ / name, std::filesystem::perms::owner_all);
  }

  TempDir folder_;
};

TEST_F(Slurm, StartsAsManyRanksAsTheNodesThatItGotHold) {
  EXPECT_EQ(run("exit 0\n", "(null)").exit_code, 0);
  EXPECT_EQ(first_line("called"), "8 run.toml a.b=c d");
  EXPECT_EQ(first_line("scontrol.calls"), "");
}

TEST_F(Slurm, AMistakeIsNotRepeated) {
  EXPECT_EQ(run("exit 2\n", "85").exit_code, 2);
  EXPECT_EQ(first_line("scontrol.calls"), "");
}

TEST_F(Slurm, AJobThatSavedStartsAgain) {
  EXPECT_EQ(run("exit 85\n", "85").exit_code, 85);
  EXPECT_EQ(first_line("scontrol.calls"), "");
  // However often it has; and where the cluster does not know the code, by asking.
  EXPECT_EQ(run("exit 85\n", "(null)", "SLURM_RESTART_COUNT=1000").exit_code, 85);
  EXPECT_EQ(first_line("scontrol.calls"), "requeue 7");
}

TEST_F(Slurm, AJobThatCrashedStartsAgainSoManyTimes) {
  EXPECT_EQ(run("exit 137\n", "85").exit_code, 85);
  EXPECT_EQ(run("exit 137\n", "85", "SLURM_RESTART_COUNT=3 TRIREME_MAX_RESTARTS=4").exit_code, 85);
  EXPECT_EQ(run("exit 137\n", "85", "SLURM_RESTART_COUNT=4 TRIREME_MAX_RESTARTS=4").exit_code, 137);
}

TEST_F(Slurm, SignalsReachTheTraining) {
  const std::string trains =
      "trap 'sleep 0.3; exit 85' USR1\ntouch ready\nfor i in $(seq 300); do sleep 0.1; done\n";
  for (const std::string signal : {"USR1", "TERM"}) {
    const Outcome outcome =
        run(trains, "85", "", "until [ -e ready ]; do sleep 0.1; done; rm ready; kill -" + signal + " $job");
    EXPECT_EQ(outcome.exit_code, 85) << outcome.errors;
    EXPECT_NE(outcome.out.find("ended with 85"), std::string::npos) << outcome.out;
  }
}

TEST_F(Slurm, AWrongFolderIsRefused) {
  const Outcome outcome = run("exit 0\n", "85", "TRIREME_ROOT=/no/such");
  EXPECT_EQ(outcome.exit_code, 2);
  EXPECT_NE(outcome.errors.find("/no/such holds no launch/mpirun.sh"), std::string::npos) << outcome.errors;
}

}  // namespace
}  // namespace trireme
