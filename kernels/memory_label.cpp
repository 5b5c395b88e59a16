#include "kernels/memory_label.h"

#include <algorithm>
#include <cstdio>
#include <mutex>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include <glog/logging.h>

#include "kernels/memory_ledger.h"

namespace trireme {
namespace {

struct Label {
  const char* name = "unnamed";
  const char* remedy = "";
};

thread_local Label current;

struct Allocation {
  std::int64_t size_bytes = 0;
  Device device;
  Label label;
};

struct Ledger {
  std::mutex mutex;
  std::unordered_map<const void*, Allocation> allocations;
};

// Outlives all buffers, static ones too.
Ledger& ledger() {
  static auto* const all = new Ledger;
  return *all;
}

struct Use {
  Label label;
  std::int64_t size_bytes = 0;
};

// Of a device, by name, largest first.
std::vector<Use> uses_of(Device device) {
  Ledger& all = ledger();
  const std::lock_guard lock(all.mutex);
  std::vector<Use> uses;
  for (const auto& [data, allocation] : all.allocations) {
    if (allocation.device != device) continue;
    const auto same = std::ranges::find_if(
        uses, [&](const Use& use) { return std::string_view(use.label.name) == allocation.label.name; });
    Use& use = same != uses.end() ? *same : uses.emplace_back(Use{.label = allocation.label});
    if (*use.label.remedy == '\0') use.label.remedy = allocation.label.remedy;
    use.size_bytes += allocation.size_bytes;
  }
  std::ranges::sort(uses, [](const Use& a, const Use& b) { return a.size_bytes > b.size_bytes; });
  return uses;
}

std::string mib(std::int64_t size_bytes) {
  char text[32];
  std::snprintf(text, sizeof text, "%.1f", static_cast<double>(size_bytes) / (1 << 20));
  return text;
}

std::string row(std::int64_t size_bytes, std::string_view name) {
  const std::string number = mib(size_bytes);
  return "\n" + std::string(number.size() < 12 ? 12 - number.size() : 0, ' ') + number + " MiB  " +
         std::string(name);
}

}  // namespace

MemoryLabel::MemoryLabel(const char* name, const char* remedy)
    : outer_name_(current.name), outer_remedy_(current.remedy) {
  current.name = name;
  if (remedy != nullptr) current.remedy = remedy;
}

MemoryLabel::~MemoryLabel() {
  current = {.name = outer_name_, .remedy = outer_remedy_};
}

void note_allocation(const void* data, std::int64_t size_bytes, Device device) {
  Ledger& all = ledger();
  const std::lock_guard lock(all.mutex);
  const bool is_new = all.allocations.try_emplace(data, Allocation{size_bytes, device, current}).second;
  CHECK(is_new) << "memory that was not given back is allocated again";
}

void note_release(const void* data) {
  Ledger& all = ledger();
  const std::lock_guard lock(all.mutex);
  CHECK_EQ(all.allocations.erase(data), 1U) << "memory is given back that was not allocated";
}

std::string out_of_memory_words(std::int64_t size_bytes, Device device, std::int64_t free_bytes,
                                std::int64_t total_bytes) {
  const Label asked = current;
  std::string words = "out of memory on " + device.to_string() + ": " + std::to_string(size_bytes) +
                      " bytes (" + mib(size_bytes) + " MiB) were asked for, for " + asked.name + "; of " +
                      mib(total_bytes) + " MiB there are";
  std::vector<Use> uses = uses_of(device);
  std::int64_t others = total_bytes - free_bytes;
  for (const Use& use : uses) {
    words += row(use.size_bytes, use.label.name);
    others -= use.size_bytes;
  }
  // What CUDA rounds allocations up to is in it, too.
  words += row(std::max<std::int64_t>(0, others), "of CUDA, libraries and other processes");
  words += row(free_bytes, "free");
  uses.insert(uses.begin(), {.label = asked});
  std::vector<std::string_view> said;
  for (const Use& use : uses) {
    if (*use.label.remedy == '\0' || std::ranges::count(said, use.label.remedy) > 0) continue;
    words += said.empty() ? "\nTo need less:" : "";
    words += "\n  " + std::string(use.label.name) + ": " + use.label.remedy;
    said.emplace_back(use.label.remedy);
  }
  return words;
}

}  // namespace trireme
