#include "tests/vgpu/nccl/network.h"

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include <poll.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tests/vgpu/runtime/library.h"

namespace trireme::vgpu {
namespace {

double now() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// An abstract address: its name begins with a 0.
socklen_t address_of(const std::string& id, int rank, sockaddr_un& address) {
  address = {};
  address.sun_family = AF_UNIX;
  const std::string name = "trireme-vgpu-nccl-" + id + "-" + std::to_string(rank);
  std::memcpy(address.sun_path + 1, name.data(), name.size());
  return static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + 1 + name.size());
}

int new_socket() {
  return socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

template <class T>
std::vector<uint8_t> bytes_of(const T& value) {
  std::vector<uint8_t> bytes(sizeof value);
  std::memcpy(bytes.data(), &value, sizeof value);
  return bytes;
}

std::atomic<bool> is_started = false;

}  // namespace

Network& Network::get() {
  static Network* const instance = new Network;  // outlives all that might call it
  return *instance;
}

bool Network::is_running() {
  return is_started;
}

Network::Network() : wake_up_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)), thread_([this] { run(); }) {
  is_started = true;
}

std::shared_ptr<Mesh> Network::join(const std::string& id, Mesh::Hello self) {
  auto mesh = std::make_shared<Mesh>();
  mesh->id = id;
  mesh->self = self;
  mesh->links.resize(self.size);
  mesh->listener = new_socket();
  sockaddr_un address;
  const socklen_t length = address_of(id, self.rank, address);
  if (bind(mesh->listener, reinterpret_cast<sockaddr*>(&address), length) != 0 ||
      listen(mesh->listener, self.size) != 0)
    vgpu_give_up(
        "communicator",
        ("two processes come as rank " + std::to_string(self.rank) + ": " + std::strerror(errno)).c_str());
  const std::lock_guard lock(mutex_);
  meshes_.push_back(mesh);
  wake();
  return mesh;
}

void Network::leave(const std::shared_ptr<Mesh>& mesh, bool says_farewell) {
  for (int rank = 0; rank < mesh->self.size; ++rank) {
    if (says_farewell && rank != mesh->self.rank)
      send(*mesh, rank, {0, Key::Kind::kFarewell, static_cast<uint32_t>(mesh->self.rank), 0}, {}, nullptr, 0);
  }
  const std::lock_guard lock(mutex_);
  mesh->is_closing = true;
  wake();
}

std::vector<int> Network::missing(const Mesh& mesh) {
  const std::lock_guard lock(mutex_);
  std::vector<int> ranks;
  for (int rank = 0; rank < mesh.self.size; ++rank)
    if (rank != mesh.self.rank && mesh.links[rank].hello.rank < 0) ranks.push_back(rank);
  return ranks;
}

std::vector<int> Network::dead(const Mesh& mesh) {
  const std::lock_guard lock(mutex_);
  std::vector<int> ranks;
  for (int rank = 0; rank < mesh.self.size; ++rank)
    if (mesh.links[rank].is_dead) ranks.push_back(rank);
  return ranks;
}

std::vector<int> Network::devices(const Mesh& mesh) {
  const std::lock_guard lock(mutex_);
  std::vector<int> devices;
  for (int rank = 0; rank < mesh.self.size; ++rank)
    devices.push_back(rank == mesh.self.rank ? mesh.self.device : mesh.links[rank].hello.device);
  return devices;
}

void Network::send(Mesh& mesh, int to, const Key& key, const Call& call, const uint8_t* data,
                   uint64_t bytes) {
  const std::lock_guard lock(mutex_);
  if (to == mesh.self.rank) return put(key, {call, {data, data + bytes}});
  std::vector<uint8_t> message = bytes_of(Header{key, call, bytes});
  message.insert(message.end(), data, data + bytes);
  Mesh::Link& link = mesh.links[to];
  link.outgoing.push_back(std::move(message));
  if (link.socket >= 0) write(link);
  if (!link.outgoing.empty()) wake();
}

bool Network::has(const std::vector<Key>& keys) {
  const std::lock_guard lock(mutex_);
  return std::all_of(keys.begin(), keys.end(), [&](const Key& key) { return inbox_.contains(key); });
}

Frame Network::take(const Key& key) {
  const std::lock_guard lock(mutex_);
  return std::move(inbox_.extract(key).mapped());
}

void Network::expect(const std::vector<Key>& keys, uint32_t op) {
  const std::lock_guard lock(mutex_);
  for (const Key& key : keys) {
    expected_[key] = op;
    if (inbox_.contains(key)) demanded_.insert(op);
  }
  has_unserved_ = true;
  wake();
}

void Network::forget(const std::vector<Key>& keys, uint32_t op) {
  const std::lock_guard lock(mutex_);
  for (const Key& key : keys) expected_.erase(key);
  demanded_.erase(op);
}

void Network::idle() {
  {
    std::unique_lock lock(mutex_);
    const uint64_t before = num_arrived_;
    arrived_.wait_for(lock, std::chrono::milliseconds(2), [&] { return num_arrived_ != before; });
  }
  serve();
}

double Network::seconds_since_arrival() {
  const std::lock_guard lock(mutex_);
  return now() - last_arrival_;
}

// False: another thread is inside CUDA.
bool Network::serve() {
  std::set<uint32_t> demanded;
  {
    const std::lock_guard lock(mutex_);
    demanded = demanded_;
  }
  for (const uint32_t op : demanded) {
    const int result = vgpu_advance(op);
    if (result < 0) return false;
    if (result == 0) continue;
    const std::lock_guard lock(mutex_);
    demanded_.erase(op);
  }
  return vgpu_advance(0) >= 0;
}

void Network::stop() {
  {
    const std::lock_guard lock(mutex_);
    stops_ = true;
    wake();
  }
  thread_.join();
}

void Network::wake() {
  const uint64_t one = 1;
  [[maybe_unused]] const ssize_t written = ::write(wake_up_, &one, sizeof one);
}

void Network::put(const Key& key, Frame frame) {
  inbox_[key] = std::move(frame);
  ++num_arrived_;
  last_arrival_ = now();
  const auto waiting = expected_.find(key);
  if (waiting != expected_.end()) demanded_.insert(waiting->second);
  has_unserved_ = true;
  arrived_.notify_all();
}

// Meets the others: connects to those of lower rank, once they listen, and takes those of higher rank in.
void Network::step(Mesh& mesh) {
  for (int rank = 0; rank < mesh.self.rank; ++rank) {
    Mesh::Link& link = mesh.links[rank];
    if (link.socket >= 0 || link.hello.rank >= 0 || link.is_dead) continue;
    const int fd = new_socket();
    sockaddr_un address;
    const socklen_t length = address_of(mesh.id, rank, address);
    if (connect(fd, reinterpret_cast<sockaddr*>(&address), length) != 0) {
      close(fd);
      continue;
    }
    link.socket = fd;
    link.outgoing.push_front(bytes_of(mesh.self));
  }
  int fd = -1;
  while (mesh.listener >= 0 &&
         (fd = accept4(mesh.listener, nullptr, nullptr, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0)
    mesh.strangers.emplace_back().socket = fd;
  for (auto stranger = mesh.strangers.begin(); stranger != mesh.strangers.end();) {
    read(*stranger);
    if (stranger->hello.rank < 0) {
      ++stranger;
      continue;
    }
    Mesh::Link& link = mesh.links[stranger->hello.rank];
    link.socket = stranger->socket;
    link.hello = stranger->hello;
    link.incoming = std::move(stranger->incoming);
    link.outgoing.push_front(bytes_of(mesh.self));
    take_frames(link);
    stranger = mesh.strangers.erase(stranger);
  }
}

void Network::read(Mesh::Link& link) {
  constexpr size_t kChunk = 1 << 20;
  while (true) {
    const size_t size = link.incoming.size();
    link.incoming.resize(size + kChunk);
    const ssize_t received = recv(link.socket, link.incoming.data() + size, kChunk, 0);
    link.incoming.resize(size + std::max<ssize_t>(received, 0));
    if (received < 0 && errno == EINTR) continue;
    if (received == 0 || (received < 0 && errno != EAGAIN)) {
      take_frames(link);
      link.is_dead = !link.said_farewell;
      close(std::exchange(link.socket, -1));
      ++num_arrived_;
      has_unserved_ = true;
      arrived_.notify_all();
      return;
    }
    if (received < 0) break;
  }
  take_frames(link);
}

void Network::take_frames(Mesh::Link& link) {
  size_t begin = 0;
  const auto left = [&] { return link.incoming.size() - begin; };
  if (link.hello.rank < 0) {
    if (left() < sizeof link.hello) return;
    std::memcpy(&link.hello, link.incoming.data(), sizeof link.hello);
    begin = sizeof link.hello;
  }
  Header header;
  while (left() >= sizeof header) {
    std::memcpy(&header, link.incoming.data() + begin, sizeof header);
    if (left() < sizeof header + header.bytes) break;
    const auto data = link.incoming.begin() + static_cast<ptrdiff_t>(begin + sizeof header);
    if (header.key.kind == Key::Kind::kFarewell)
      link.said_farewell = true;
    else
      put(header.key, {header.call, {data, data + static_cast<ptrdiff_t>(header.bytes)}});
    begin += sizeof header + header.bytes;
  }
  link.incoming.erase(link.incoming.begin(), link.incoming.begin() + static_cast<ptrdiff_t>(begin));
}

void Network::write(Mesh::Link& link) {
  while (!link.outgoing.empty()) {
    const std::vector<uint8_t>& first = link.outgoing.front();
    const ssize_t sent =
        ::send(link.socket, first.data() + link.sent, first.size() - link.sent, MSG_NOSIGNAL);
    if (sent < 0) {
      if (errno != EAGAIN && errno != EINTR) link.outgoing.clear();  // reading will tell why
      return;
    }
    link.sent += static_cast<size_t>(sent);
    if (link.sent < first.size()) return;
    link.outgoing.pop_front();
    link.sent = 0;
  }
}

void Network::run() {
  while (true) {
    std::vector<pollfd> polled = {{wake_up_, POLLIN, 0}};
    bool is_meeting = false, is_unserved = false, stops = false, all_sent = true;
    {
      const std::lock_guard lock(mutex_);
      stops = stops_;
      for (auto it = meshes_.begin(); it != meshes_.end();) {
        Mesh& mesh = **it;
        step(mesh);
        bool has_sent = true;
        for (int rank = 0; rank < mesh.self.size; ++rank) {
          Mesh::Link& link = mesh.links[rank];
          if (link.socket >= 0) read(link);
          if (link.socket >= 0) write(link);
          is_meeting |= rank != mesh.self.rank && link.hello.rank < 0;
          if (link.socket < 0) continue;
          has_sent &= link.outgoing.empty();
          const short events = link.outgoing.empty() ? POLLIN : POLLIN | POLLOUT;
          polled.push_back({link.socket, events, 0});
        }
        all_sent &= has_sent;
        if (mesh.is_closing && has_sent) {
          for (Mesh::Link& link : mesh.links)
            if (link.socket >= 0) close(link.socket);
          close(mesh.listener);
          it = meshes_.erase(it);
        } else {
          ++it;
        }
      }
      is_unserved = std::exchange(has_unserved_, false);
    }
    if (stops && all_sent) return;
    if (is_unserved && !stops && !serve()) {
      const std::lock_guard lock(mutex_);
      has_unserved_ = true;
    } else {
      is_unserved = false;
    }
    poll(polled.data(), polled.size(), is_meeting || is_unserved ? 1 : 100);
    uint64_t count = 0;
    [[maybe_unused]] const ssize_t got = ::read(wake_up_, &count, sizeof count);
  }
}

}  // namespace trireme::vgpu
