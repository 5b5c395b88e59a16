// The order in which a device executes work.
#pragma once

#include <memory>

#include "kernels/device.h"

namespace trireme {

namespace cuda {
class StreamState;
}

// Work given to one stream runs in the order given; every op takes its stream last.  On the CPU an op has
// run when its function returns, so a CPU stream holds nothing but its device.  Cheap to copy; owns nothing:
// a DeviceStream made it.
class Stream {
 public:
  Stream() = default;  // the CPU's

  Device device() const { return device_; }
  // Returns when all work given so far is done.
  void synchronize() const;
  bool is_done() const;

  // Of a CUDA device; what kernels/cuda/ launches with.
  cuda::StreamState* cuda() const { return cuda_; }

 private:
  friend class DeviceStream;
  Stream(Device device, cuda::StreamState* cuda) : device_(device), cuda_(cuda) {}

  Device device_;
  cuda::StreamState* cuda_ = nullptr;
};

// Owns a stream of a device.  Its end waits for the work given to it.
class DeviceStream {
 public:
  explicit DeviceStream(Device device);
  ~DeviceStream();
  DeviceStream(const DeviceStream&) = delete;
  DeviceStream& operator=(const DeviceStream&) = delete;

  operator Stream() const { return {device_, cuda_.get()}; }

 private:
  struct DeleteCuda {
    void operator()(cuda::StreamState* state) const;
  };

  Device device_;
  std::unique_ptr<cuda::StreamState, DeleteCuda> cuda_;
};

// A point in the work of a stream, for another stream or the host to wait for.  On the CPU, where work is
// done when it has been given, there is never anything to wait for.
class Event {
 public:
  explicit Event(Device device);
  ~Event();
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;

  // The point after all work given to `stream` so far; replaces the point recorded before.
  void record(Stream stream);
  // Work given to `stream` from now on starts when the recorded point has been reached.  `stream` may be of
  // another device.
  void make_wait(Stream stream) const;
  // Returns when the recorded point has been reached.
  void synchronize() const;
  bool is_reached() const;

 private:
  Device device_;
  void* cuda_ = nullptr;
};

}  // namespace trireme
