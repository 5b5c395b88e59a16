#include "trainer/model/recompute.h"

#include <glog/logging.h>

namespace trireme {

Recompute recompute_of(std::string_view name) {
  if (name == "none") return Recompute::kNone;
  if (name == "selective") return Recompute::kSelective;
  CHECK_EQ(name, "full");
  return Recompute::kFull;
}

}  // namespace trireme
