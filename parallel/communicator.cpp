#include "parallel/communicator.h"

#include <glog/logging.h>

namespace trireme {

void Communicator::check_operand(const Tensor& x) const {
  CHECK(x || x.num_elements() == 0) << "a collective is given no tensor";
  CHECK(x.is_contiguous()) << "a collective needs contiguous memory, " << x.shape().to_string() << " is not";
}

void Communicator::check_gather(const Tensor& out, const Tensor& x) const {
  check_operand(out);
  check_operand(x);
  CHECK(out.dtype() == x.dtype() && out.num_elements() == size() * x.num_elements())
      << "all_gather of " << name(x.dtype()) << x.shape().to_string() << " over " << size() << " ranks into "
      << name(out.dtype()) << out.shape().to_string();
}

void Communicator::check_root(int root) const {
  CHECK(0 <= root && root < size()) << "rank " << root << " of a group of " << size();
}

}  // namespace trireme
