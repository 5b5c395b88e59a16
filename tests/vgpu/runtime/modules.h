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

// The device code of one .cu file: its kernels and its variables on every device.  A program has many and
// uses few: the PTX is read when something of it is first asked for, and each kernel translated when it is.
class LoadedModule {
 public:
  explicit LoadedModule(const void* fatbin_wrapper) : fatbin_wrapper_(fatbin_wrapper) {}

  // Null if there is none of that name.
  Kernel* kernel(const std::string& name);
  // Name -> address.
  const std::unordered_map<std::string_view, uint64_t>& variables(int device);

  // Translates all its kernels.
  void load_all();
  // Those that are translated.
  const std::map<std::string, std::unique_ptr<Kernel>>& kernels() const { return kernels_; }

 private:
  void read();
  Kernel* translate(const ptx::Function& entry);
  void place_variables(int device);

  const void* fatbin_wrapper_;
  std::unique_ptr<ptx::Module> module_;   // null until read()
  std::map<std::string, int> registers_;  // by kernel
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
    std::string name;
    Kernel* kernel = nullptr;  // that function() returns has one
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
  const Function* function(const void* host_function);
  const Variable* variable(const void* host_variable) const;

  const std::vector<std::unique_ptr<LoadedModule>>& modules() const { return modules_; }

  // What was counted of all kernels.
  Counters total() const;
  // All kernels that were launched, with what was counted.
  std::string counters() const;

 private:
  std::vector<std::unique_ptr<LoadedModule>> modules_;
  std::unordered_map<const void*, Function> functions_;
  std::unordered_map<const void*, Variable> variables_;
};

}  // namespace trireme::vgpu
