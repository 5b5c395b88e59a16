#include "parallel/nccl_lane.h"

#include <thread>
#include <utility>

#include "parallel/mpi_group.h"

namespace trireme {

void Patience::pause() {
  if (++num_pauses_ < 100) {
    std::this_thread::yield();
  } else {
    std::this_thread::sleep_for(std::chrono::microseconds(50));
  }
}

NcclComm::NcclComm(std::string name, std::chrono::seconds timeout)
    : name_(std::move(name)), timeout_(timeout) {}

NcclComm::~NcclComm() {
  if (comm_ == nullptr) return;
  finalize();
  settle(finalized_, "ncclCommFinalize");
  settle(ncclCommDestroy(std::exchange(comm_, nullptr)), "ncclCommDestroy");
}

void NcclComm::join(const ncclUniqueId& id, int rank, int size) {
  ncclConfig_t config = this->config();
  settle(ncclCommInitRankConfig(&comm_, size, id, rank, &config), "ncclCommInitRankConfig");
}

void NcclComm::split_from(NcclComm& whole, int color, int key) {
  ncclConfig_t config = this->config();
  whole.settle(ncclCommSplit(whole.comm_, color, key, &comm_, &config), "ncclCommSplit");
  if (comm_ != nullptr) settle(ncclInProgress, "ncclCommSplit");
}

void NcclComm::finalize() {
  if (!is_final_) finalized_ = ncclCommFinalize(comm_);
  is_final_ = true;
}

void NcclComm::abandon() {
  if (comm_ != nullptr) ncclCommAbort(std::exchange(comm_, nullptr));
}

void NcclComm::settle(ncclResult_t result, const char* call) {
  const auto deadline = std::chrono::steady_clock::now() + timeout_;
  Patience patience;
  while (result == ncclInProgress && comm_ != nullptr) {
    result = ask();
    if (result != ncclInProgress) break;
    if (std::chrono::steady_clock::now() > deadline) {
      fail(std::string(call) + ": not done after " + std::to_string(timeout_.count()) +
           " s; is a rank missing, or the network between the devices?");
    }
    patience.pause();
  }
  if (result != ncclSuccess && result != ncclInProgress) fail(call, result);
}

void NcclComm::check() {
  const ncclResult_t result = ask();
  if (result != ncclSuccess && result != ncclInProgress) fail("a peer", result);
}

ncclConfig_t NcclComm::config() const {
  ncclConfig_t config = NCCL_CONFIG_INITIALIZER;
  config.blocking = 0;
#if NCCL_VERSION_CODE >= NCCL_VERSION(2, 27, 0)
  config.commName = name_.c_str();
#endif
  return config;
}

ncclResult_t NcclComm::ask() {
  ncclResult_t result = ncclSuccess;
  const ncclResult_t asked = ncclCommGetAsyncError(comm_, &result);
  return asked == ncclSuccess ? result : asked;
}

void NcclComm::fail(const char* call, ncclResult_t result) {
  std::string text = std::string(call) + ": " + ncclGetErrorString(result);
  const char* details = ncclGetLastError(comm_);
  if (details != nullptr && *details != '\0') text += std::string(" (") + details + ")";
  fail(text);
}

void NcclComm::fail(const std::string& text) {
  abandon();
  end_job(name_ + ": NCCL: " + text);
}

NcclLane::NcclLane(std::string name, Device device, std::chrono::seconds timeout, int ring)
    : comm(std::move(name), timeout), stream(device), given(device) {
  for (int i = 0; i < ring; ++i) ends.push_back(std::make_unique<Event>(device));
}

}  // namespace trireme
