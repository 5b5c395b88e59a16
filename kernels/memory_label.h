// What memory is for, so that a device that runs out of it can tell.
#pragma once

namespace trireme {

// While it lives, what this thread allocates on CUDA devices is counted under its name; of several the
// innermost names it.  When a device has no memory left, the program ends with a table of all names and what
// they take, and with the remedies of those that take any:
//
//     const MemoryLabel label("activations", "lower train.microbatch_sequences");
//     buffer = Buffer(size_bytes, device);
//
// A label without a remedy has that of the label around it: what is allocated here knows what it is, and who
// asked for it knows what can be changed.
class MemoryLabel {
 public:
  // String literals, or others that stay.
  explicit MemoryLabel(const char* name, const char* remedy = nullptr);
  ~MemoryLabel();
  MemoryLabel(const MemoryLabel&) = delete;
  MemoryLabel& operator=(const MemoryLabel&) = delete;

 private:
  const char* const outer_name_;
  const char* const outer_remedy_;
};

}  // namespace trireme
