#include <set>

#include "tests/vgpu/report.h"
#include "tests/vgpu/runtime/api.h"

namespace trireme::vgpu {
namespace {

constexpr int kHighestPriority = -5;

cudaError_t create(cudaStream_t* handle, unsigned flags, int priority) {
  const bool blocking = !(flags & cudaStreamNonBlocking);
  *handle = reinterpret_cast<cudaStream_t>(Streams::get().create(current_device, blocking, priority));
  return cudaSuccess;
}

std::set<Event*>& events() {
  static std::set<Event*> live;
  return live;
}

// Null if the handle is none, or of an event that was destroyed.
Event* event_of(cudaEvent_t handle) {
  Event* event = reinterpret_cast<Event*>(handle);
  return events().contains(event) ? event : nullptr;
}

cudaError_t create(cudaEvent_t* handle, unsigned flags) {
  auto event = std::make_unique<Event>();
  event->device = current_device;
  event->timing = !(flags & cudaEventDisableTiming);
  *handle = reinterpret_cast<cudaEvent_t>(event.get());
  events().insert(event.release());
  return cudaSuccess;
}

cudaError_t record(cudaEvent_t event_handle, cudaStream_t stream_handle) {
  Event* event = event_of(event_handle);
  Stream* stream = stream_of(stream_handle);
  if (!event || !stream) return cudaErrorInvalidResourceHandle;
  if (event->device != stream->device())
    give_up(Finding::kOtherDevice,
            text("an event of device ", event->device, " in a stream of device ", stream->device()),
            where_called());
  const cudaError_t error = Streams::get().refuse_use(*stream);
  if (error != cudaSuccess) return error;
  Streams::get().record(*event, *stream);
  return cudaSuccess;
}

// For a stream: calls f with it.
template <class F>
cudaError_t with_stream(const char* name, cudaStream_t handle, F f) {
  return api_call(name, [&] {
    Stream* stream = stream_of(handle);
    return stream ? f(*stream) : cudaErrorInvalidResourceHandle;
  });
}

template <class F>
cudaError_t with_event(const char* name, cudaEvent_t handle, F f) {
  return api_call(name, [&] {
    Event* event = event_of(handle);
    return event ? f(*event) : cudaErrorInvalidResourceHandle;
  });
}

}  // namespace
}  // namespace trireme::vgpu

using namespace trireme::vgpu;

extern "C" {

cudaError_t cudaStreamCreate(cudaStream_t* handle) {
  return api_call("cudaStreamCreate", [&] { return create(handle, cudaStreamDefault, 0); });
}

cudaError_t cudaStreamCreateWithFlags(cudaStream_t* handle, unsigned flags) {
  return api_call("cudaStreamCreateWithFlags", [&] { return create(handle, flags, 0); });
}

cudaError_t cudaStreamCreateWithPriority(cudaStream_t* handle, unsigned flags, int priority) {
  return api_call("cudaStreamCreateWithPriority", [&] { return create(handle, flags, priority); });
}

cudaError_t cudaDeviceGetStreamPriorityRange(int* least, int* greatest) {
  return api_call("cudaDeviceGetStreamPriorityRange", [&] {
    *least = 0;
    *greatest = kHighestPriority;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetPriority(cudaStream_t handle, int* priority) {
  return with_stream("cudaStreamGetPriority", handle, [&](Stream& s) {
    *priority = s.priority();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetFlags(cudaStream_t handle, unsigned* flags) {
  return with_stream("cudaStreamGetFlags", handle, [&](Stream& s) {
    *flags = s.blocking() ? cudaStreamDefault : cudaStreamNonBlocking;
    return cudaSuccess;
  });
}

cudaError_t cudaStreamGetDevice(cudaStream_t handle, int* device) {
  return with_stream("cudaStreamGetDevice", handle, [&](Stream& s) {
    *device = s.device();
    return cudaSuccess;
  });
}

cudaError_t cudaStreamDestroy(cudaStream_t handle) {
  return with_stream("cudaStreamDestroy", handle, [&](Stream& s) {
    if (s.capture()) return Streams::get().refuse_captured(s);
    if (reinterpret_cast<Stream*>(handle) != &s) return cudaErrorInvalidResourceHandle;  // a default stream
    Streams::get().destroy(&s);
    return cudaSuccess;
  });
}

cudaError_t cudaStreamSynchronize(cudaStream_t handle) {
  return with_stream("cudaStreamSynchronize", handle, [&](Stream& s) {
    if (s.capture()) return Streams::get().refuse_captured(s);
    ++RuntimeState::get().counters.stream_waits;
    Streams::get().finish(s);
    return cudaSuccess;
  });
}

// A program that asks again and again must see an end some time: asking makes progress.
cudaError_t cudaStreamQuery(cudaStream_t handle) {
  return with_stream("cudaStreamQuery", handle, [&](Stream& s) {
    if (s.capture()) return Streams::get().refuse_captured(s);
    return Streams::get().ask(s) ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaStreamWaitEvent(cudaStream_t handle, cudaEvent_t event_handle, unsigned) {
  return with_stream("cudaStreamWaitEvent", handle, [&](Stream& s) {
    const Event* event = event_of(event_handle);
    if (!event) return cudaErrorInvalidResourceHandle;
    if (s.capture() || event->capture) return Streams::get().wait_captured(s, *event);
    Streams::get().wait(s, *event);
    return cudaSuccess;
  });
}

cudaError_t cudaLaunchHostFunc(cudaStream_t handle, cudaHostFn_t function, void* data) {
  return with_stream("cudaLaunchHostFunc", handle, [&](Stream& s) {
    const cudaError_t error = Streams::get().refuse_use(s);
    if (error != cudaSuccess) return error;
    Streams::get().submit(s, current_call, [=](const Running&) { function(data); });
    return cudaSuccess;
  });
}

cudaError_t cudaStreamAddCallback(cudaStream_t handle, cudaStreamCallback_t function, void* data, unsigned) {
  return with_stream("cudaStreamAddCallback", handle, [&](Stream& s) {
    if (s.capture()) return Streams::get().refuse_captured(s);
    Streams::get().submit(s, current_call, [=](const Running&) { function(handle, cudaSuccess, data); });
    return cudaSuccess;
  });
}

// --- Events. ---

cudaError_t cudaEventCreate(cudaEvent_t* handle) {
  return api_call("cudaEventCreate", [&] { return create(handle, cudaEventDefault); });
}

cudaError_t cudaEventCreateWithFlags(cudaEvent_t* handle, unsigned flags) {
  return api_call("cudaEventCreateWithFlags", [&] { return create(handle, flags); });
}

cudaError_t cudaEventDestroy(cudaEvent_t handle) {
  return with_event("cudaEventDestroy", handle, [&](Event& e) {
    events().erase(&e);
    const std::unique_ptr<Event> destroyed(&e);
    return cudaSuccess;
  });
}

cudaError_t cudaEventRecord(cudaEvent_t event, cudaStream_t stream) {
  return api_call("cudaEventRecord", [&] { return record(event, stream); });
}

cudaError_t cudaEventRecordWithFlags(cudaEvent_t event, cudaStream_t stream, unsigned) {
  return api_call("cudaEventRecordWithFlags", [&] { return record(event, stream); });
}

cudaError_t cudaEventSynchronize(cudaEvent_t handle) {
  return with_event("cudaEventSynchronize", handle, [&](Event& e) {
    if (e.capture) return Streams::get().refuse_captured(e);
    ++RuntimeState::get().counters.event_waits;
    Streams::get().finish(e);
    return cudaSuccess;
  });
}

cudaError_t cudaEventQuery(cudaEvent_t handle) {
  return with_event("cudaEventQuery", handle, [&](Event& e) {
    if (e.capture) return Streams::get().refuse_captured(e);
    return Streams::get().ask(e) ? cudaSuccess : cudaErrorNotReady;
  });
}

cudaError_t cudaEventElapsedTime(float* milliseconds, cudaEvent_t start, cudaEvent_t end) {
  return with_event("cudaEventElapsedTime", start, [&](Event& first) {
    const Event* last = event_of(end);
    if (first.capture || (last && last->capture)) return cudaErrorCapturedEvent;
    if (!last || !first.op || !last->op || !first.timing || !last->timing)
      return cudaErrorInvalidResourceHandle;
    if (!Streams::get().is_done(first.op) || !Streams::get().is_done(last->op)) return cudaErrorNotReady;
    *milliseconds = static_cast<float>((*last->seconds - *first.seconds) * 1e3);
    return cudaSuccess;
  });
}

}  // extern "C"
