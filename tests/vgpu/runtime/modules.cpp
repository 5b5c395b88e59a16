#include "tests/vgpu/runtime/modules.h"

#include <algorithm>
#include <cstring>

#include "tests/vgpu/machine/lowering.h"
#include "tests/vgpu/memory/address_space.h"
#include "tests/vgpu/report.h"
#include "tests/vgpu/settings.h"

namespace trireme::vgpu {

void LoadedModule::read() {
  if (module_) return;
  DeviceCode code = read_fatbin(fatbin_wrapper_, settings().compute_capability);
  if (code.ptx.empty())
    refuse(text("device code without PTX for compute capability ", settings().compute_capability,
                " or less: compile with -gencode arch=compute_80,code=compute_80"));
  registers_ = std::move(code.registers);
  module_ = ptx::parse(std::move(code.ptx));
  variables_.resize(AddressSpace::get().num_devices());
  for (int d = 0; d < AddressSpace::get().num_devices(); ++d) place_variables(d);
}

Kernel* LoadedModule::translate(const ptx::Function& entry) {
  std::unique_ptr<Kernel>& kernel = kernels_[std::string(entry.name)];
  if (kernel) return kernel.get();
  kernel = std::make_unique<Kernel>(Lowering(*module_, entry).lower());
  const auto registers = registers_.find(kernel->name);
  if (registers != registers_.end()) kernel->num_registers = registers->second;
  if (!settings().lines_folder.empty()) kernel->executed.resize(kernel->code.size());
  return kernel.get();
}

Kernel* LoadedModule::kernel(const std::string& name) {
  const auto found = kernels_.find(name);
  if (found != kernels_.end()) return found->second.get();
  read();
  const ptx::Function* entry = module_->function(name);
  return entry && entry->is_entry && entry->has_body ? translate(*entry) : nullptr;
}

void LoadedModule::load_all() {
  read();
  for (const ptx::Function& f : module_->functions)
    if (f.is_entry && f.has_body) translate(f);
}

const std::unordered_map<std::string_view, uint64_t>& LoadedModule::variables(int device) {
  read();
  return variables_[device];
}

void LoadedModule::place_variables(int device) {
  Region& region = AddressSpace::get().device(device);
  auto& addresses = variables_[device];
  for (const ptx::Variable& v : module_->variables) {
    if (v.space != ptx::Space::kGlobal && v.space != ptx::Space::kConst) continue;
    if (v.is_managed) refuse(text("the __managed__ variable ", v.name));
    const uint64_t address = region.allocate(v.bytes, Region::kBytes, text("variable ", v.name), false);
    std::memset(region.bytes(address), 0, v.bytes);
    std::copy(v.initializer.bytes.begin(), v.initializer.bytes.end(), region.bytes(address));
    std::memset(region.state(address), kWritten, v.bytes);
    addresses[v.name] = address;
  }
  for (const ptx::Variable& v : module_->variables) {
    for (const ptx::Initializer::Address& a : v.initializer.addresses) {
      const auto target = addresses.find(a.symbol);
      if (target == addresses.end())
        refuse(text(v.name, " holds the address of ", a.symbol, ", which is no variable"));
      const uint64_t value = target->second + a.addend;
      std::memcpy(region.bytes(addresses[v.name]) + a.offset, &value, sizeof(value));
    }
  }
}

Modules& Modules::get() {
  static Modules instance;
  return instance;
}

LoadedModule* Modules::load(const void* fatbin_wrapper) {
  modules_.push_back(std::make_unique<LoadedModule>(fatbin_wrapper));
  return modules_.back().get();
}

void Modules::add_function(LoadedModule* module, const void* host_function, const std::string& name) {
  functions_[host_function] = {module, name};
}

void Modules::add_variable(LoadedModule* module, const void* host_variable, const std::string& name,
                           uint64_t bytes) {
  variables_[host_variable] = {module, name, bytes};
}

const Modules::Function* Modules::function(const void* host_function) {
  const auto found = functions_.find(host_function);
  if (found == functions_.end()) return nullptr;
  Function& function = found->second;
  if (!function.kernel) function.kernel = function.module->kernel(function.name);
  if (!function.kernel)
    refuse(text("the kernel ", demangled(function.name), " is not in the PTX of its module"));
  return &function;
}

const Modules::Variable* Modules::variable(const void* host_variable) const {
  const auto found = variables_.find(host_variable);
  return found == variables_.end() ? nullptr : &found->second;
}

Counters Modules::total() const {
  Counters total;
  for (const auto& module : modules_)
    for (const auto& [name, kernel] : module->kernels()) total.add(kernel->counters);
  return total;
}

std::string Modules::counters() const {
  std::ostringstream out;
  for (const auto& module : modules_) {
    for (const auto& [name, kernel] : module->kernels()) {
      const Counters& c = kernel->counters;
      if (c.launches == 0) continue;
      out << "vgpu: counters: " << kernel->readable_name << "\n"
          << "  launches " << c.launches << ", blocks " << c.blocks << "\n"
          << "  warp_instructions " << c.warp_instructions << ", thread_instructions "
          << c.thread_instructions << "\n"
          << "  global_useful_bytes " << c.global_useful_bytes << ", global_sectors " << c.global_sectors
          << "\n"
          << "  shared_accesses " << c.shared_accesses << ", shared_conflicts " << c.shared_conflicts << "\n"
          << "  mma " << c.mma << ", barriers " << c.barriers << "\n";
    }
  }
  return out.str();
}

}  // namespace trireme::vgpu
