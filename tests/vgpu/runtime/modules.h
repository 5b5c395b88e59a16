#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "tests/vgpu/loader/fatbin.h"
#include "tests/vgpu/machine/kernel.h"
#include "tests/vgpu/ptx/module.h"

namespace trireme::vgpu {

// The device code of one .cu file: its kernels, translated, and its variables on every device.
class LoadedModule {
 public:
  explicit LoadedModule(const void* fatbin_wrapper);

  Kernel* kernel(const std::string& name);
  const std::unordered_map<std::string_view, uint64_t>& variables(int device) const {
    return variables_[device];
  }
  const std::map<std::string, std::unique_ptr<Kernel>>& kernels() const { return kernels_; }

 private:
  void place_variables(int device);

  std::unique_ptr<ptx::Module> module_;
  std::map<std::string, std::unique_ptr<Kernel>> kernels_;
  std::vector<std::unordered_map<std::string_view, uint64_t>> variables_;
};

// What the program has registered before main: host functions that stand for kernels, host variables that
// stand for variables of the device.
class Modules {
 public:
  static Modules& get();

  struct Function {
    LoadedModule* module = nullptr;
    Kernel* kernel = nullptr;
  };
  struct Variable {
    LoadedModule* module = nullptr;
    std::string name;
    uint64_t bytes = 0;
  };

  LoadedModule* load(const void* fatbin_wrapper);
  void add_function(LoadedModule* module, const void* host_function, const std::string& name);
  void add_variable(LoadedModule* module, const void* host_variable, const std::string& name, uint64_t bytes);

  // Null if there is none of that address.
  const Function* function(const void* host_function) const;
  const Variable* variable(const void* host_variable) const;

  // All kernels that were launched, with what was counted.
  std::string counters() const;

 private:
  std::vector<std::unique_ptr<LoadedModule>> modules_;
  std::unordered_map<const void*, Function> functions_;
  std::unordered_map<const void*, Variable> variables_;
};

}  // namespace trireme::vgpu
