#include "parallel/mpi_call_check.h"

#include <chrono>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <type_traits>
#include <utility>
#include <vector>

namespace trireme {
namespace {

static_assert(std::is_trivially_copyable_v<MpiCall>, "it is sent as it is");

const char* name(MpiCall::Kind kind) {
  switch (kind) {
    case MpiCall::Kind::kAllReduce:
      return "all_reduce";
    case MpiCall::Kind::kReduceScatter:
      return "reduce_scatter";
    case MpiCall::Kind::kAllGather:
      return "all_gather";
    case MpiCall::Kind::kAllToAll:
      return "all_to_all";
    case MpiCall::Kind::kBroadcast:
      return "broadcast";
    case MpiCall::Kind::kSend:
      return "send";
    case MpiCall::Kind::kReceive:
      return "receive";
    case MpiCall::Kind::kBarrier:
      return "barrier";
    case MpiCall::Kind::kSplit:
      return "split";
  }
  return "?";
}

// All ranks tell each other, then compare, then go on.
class CheckedCollective final : public Operation {
 public:
  CheckedCollective(std::unique_ptr<Operation> operation, const MpiCall& call, std::int64_t call_number,
                    MpiGroup& group, std::string group_name)
      : operation_(std::move(operation)),
        call_number_(call_number),
        group_(group),
        group_name_(std::move(group_name)),
        calls_(static_cast<std::size_t>(group.size), call) {}

  void start() override {
    for (int i = 1; i < group_.size; ++i) {
      const int peer = group_.peer(i);
      group_.receive(&calls_[static_cast<std::size_t>(peer)], sizeof(MpiCall), peer, MpiTag::kCheckCollective,
                     requests_);
    }
    const MpiCall& mine = calls_[static_cast<std::size_t>(group_.rank)];
    for (int i = 1; i < group_.size; ++i) {
      group_.send(&mine, sizeof(MpiCall), group_.peer(i), MpiTag::kCheckCollective, requests_);
    }
  }

  Progress advance() override {
    if (agreed_) return operation_->advance();
    if (!all_done(requests_)) return Progress::kWaiting;
    for (const MpiCall& call : calls_) {
      if (call != calls_.front()) end_in_disagreement();
    }
    agreed_ = true;
    operation_->start();
    return Progress::kMoved;
  }

 private:
  [[noreturn]] void end_in_disagreement() const {
    // Every rank finds it; one speaks, the others only if that one could not.
    if (group_.rank > 0) std::this_thread::sleep_for(std::chrono::seconds(2));
    std::string text = group_name_ + ": in collective " + std::to_string(call_number_) + " of the group";
    std::vector<bool> told(calls_.size());
    for (std::size_t i = 0; i < calls_.size(); ++i) {
      if (told[i]) continue;
      text += i == 0 ? " rank" : "; rank";
      for (std::size_t j = i; j < calls_.size(); ++j) {
        if (calls_[j] != calls_[i]) continue;
        told[j] = true;
        text += (j == i ? " " : ", ") + std::to_string(group_.job_ranks[j]);
      }
      text += " calls " + calls_[i].to_string();
    }
    end_job(text);
  }

  std::unique_ptr<Operation> operation_;
  std::int64_t call_number_;
  MpiGroup& group_;
  std::string group_name_;
  std::vector<MpiCall> calls_;  // of each rank
  MpiRequests requests_;
  bool agreed_ = false;
};

// The sender sends a word ahead of the message; the receiver looks at it first.  Both start together, so that
// the order of messages is the order of calls.
class CheckedMessage final : public Operation {
 public:
  CheckedMessage(std::unique_ptr<Operation> operation, const MpiCall& call, MpiGroup& group,
                 std::string group_name)
      : operation_(std::move(operation)),
        group_(group),
        group_name_(std::move(group_name)),
        mine_(call),
        sent_(call) {}

  void start() override {
    if (mine_.kind == MpiCall::Kind::kSend) {
      group_.send(&mine_, sizeof(MpiCall), mine_.peer, MpiTag::kCheckMessage, requests_);
    } else {
      group_.receive(&sent_, sizeof(MpiCall), mine_.peer, MpiTag::kCheckMessage, requests_);
    }
    operation_->start();
  }

  Progress advance() override {
    if (!agreed_ && !all_done(requests_)) return Progress::kWaiting;
    if (sent_.num_elements != mine_.num_elements || sent_.dtype != mine_.dtype ||
        sent_.is_message() != true) {
      end_job(group_name_ + ": rank " + job_rank(group_.rank) + " calls " + mine_.to_string() +
              " from rank " + job_rank(mine_.peer) + ", which calls " + sent_.to_string());
    }
    agreed_ = true;
    return operation_->advance();
  }

 private:
  std::string job_rank(int rank) const {
    return std::to_string(group_.job_ranks[static_cast<std::size_t>(rank)]);
  }

  std::unique_ptr<Operation> operation_;
  MpiGroup& group_;
  std::string group_name_;
  MpiCall mine_;
  MpiCall sent_;  // what arrives
  MpiRequests requests_;
  bool agreed_ = false;
};

}  // namespace

std::string MpiCall::to_string() const {
  std::string text = name(kind);
  if (kind == Kind::kBarrier || kind == Kind::kSplit) return text;
  if (kind == Kind::kAllReduce || kind == Kind::kReduceScatter)
    text += reduce_op == ReduceOp::kSum ? "(sum)" : "(max)";
  text += " of " + std::to_string(num_elements) + " " + trireme::name(dtype);
  if (kind == Kind::kBroadcast) text += " from the group's rank " + std::to_string(peer);
  return text;
}

std::unique_ptr<Operation> checked(std::unique_ptr<Operation> operation, const MpiCall& call,
                                   std::int64_t call_number, MpiGroup& group, const std::string& group_name) {
  if (call.is_message()) {
    return std::make_unique<CheckedMessage>(std::move(operation), call, group, group_name);
  }
  return std::make_unique<CheckedCollective>(std::move(operation), call, call_number, group, group_name);
}

bool wants_checks() {
  const char* set = std::getenv("TRIREME_CHECK_COLLECTIVES");
#ifdef NDEBUG
  return set != nullptr && std::strcmp(set, "1") == 0;
#else
  return set == nullptr || std::strcmp(set, "0") != 0;
#endif
}

}  // namespace trireme
