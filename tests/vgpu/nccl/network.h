#pragma once

#include <compare>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

namespace trireme::vgpu {

// What a rank calls, as far as it concerns the others.
struct Call {
  enum class Kind : uint32_t { kAllReduce, kReduceScatter, kAllGather, kBroadcast, kSend, kReceive };

  Kind kind;
  int32_t type;
  int32_t reduce_op;
  int32_t root;
  uint64_t count;

  bool operator==(const Call&) const = default;
  bool is_message() const { return kind == Kind::kSend || kind == Kind::kReceive; }
  std::string to_string() const;  // "AllReduce(sum) of 100 float32"
};

// One rank of a communicator says something to another: "my part of collective 3".
struct Key {
  enum class Kind : uint32_t { kCollective, kSent, kWanted, kSplit, kConnect, kFarewell };

  uint64_t communicator;
  Kind kind;
  uint32_t from;  // rank of the mesh
  uint64_t number;

  auto operator<=>(const Key&) const = default;
};

struct Header {
  Key key;
  Call call;
  uint64_t bytes;
};

struct Frame {
  Call call;
  std::vector<uint8_t> payload;
};

// The processes that have made a communicator from one unique id: a Unix socket between every two of them.
// Sockets have abstract names: they are gone with their process, which the others notice.
struct Mesh {
  struct Hello {
    int32_t rank;
    int32_t size;
    int32_t device;
  };
  struct Link {
    int socket = -1;
    Hello hello = {-1, 0, 0};
    bool said_farewell = false;
    bool is_dead = false;
    std::deque<std::vector<uint8_t>> outgoing;
    size_t sent = 0;  // of the first of them
    std::vector<uint8_t> incoming;
  };

  std::string id;
  Hello self;
  int listener = -1;
  std::vector<Link> links;      // by rank; this one's is never open
  std::vector<Link> strangers;  // have connected, and not said who they are
  bool is_closing = false;
};

// Moves frames between processes, in a thread of its own: as on a GPU, a rank whose host is busy elsewhere
// holds up nobody.  When a frame arrives for which an operation waits, the thread executes it.
class Network {
 public:
  static Network& get();
  static bool is_running();  // get() was called

  std::shared_ptr<Mesh> join(const std::string& id, Mesh::Hello self);
  // What is on its way still arrives.
  void leave(const std::shared_ptr<Mesh>& mesh, bool says_farewell);
  // Ranks that this one has not met, or that are gone without a farewell.
  std::vector<int> missing(const Mesh& mesh);
  std::vector<int> dead(const Mesh& mesh);
  // Of all ranks, once none is missing.
  std::vector<int> devices(const Mesh& mesh);

  void send(Mesh& mesh, int to, const Key& key, const Call& call, const uint8_t* data, uint64_t bytes);
  bool has(const std::vector<Key>& keys);
  bool has(const Key& key) { return has(std::vector<Key>{key}); }
  Frame take(const Key& key);

  // That an operation on a stream waits for these: it is executed when one has come, because a peer is there
  // already and waits.
  void expect(const std::vector<Key>& keys, uint32_t op);
  void forget(const std::vector<Key>& keys, uint32_t op);

  // Waits a moment for something to arrive, and executes what has been waited for.
  void idle();
  double seconds_since_arrival();
  // Sends what is left and ends the thread.
  void stop();

 private:
  Network();
  void run();
  void step(Mesh& mesh);
  void read(Mesh::Link& link);
  void write(Mesh::Link& link);
  void take_frames(Mesh::Link& link);
  void put(const Key& key, Frame frame);
  bool serve();
  void wake();

  std::mutex mutex_;
  std::condition_variable arrived_;
  uint64_t num_arrived_ = 0;
  double last_arrival_ = 0;
  std::list<std::shared_ptr<Mesh>> meshes_;
  std::map<Key, Frame> inbox_;
  std::map<Key, uint32_t> expected_;
  std::set<uint32_t> demanded_;
  bool has_unserved_ = false;
  bool stops_ = false;
  int wake_up_ = -1;
  std::thread thread_;
};

}  // namespace trireme::vgpu
