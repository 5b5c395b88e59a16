// Gradients of weights that wait, so that the gradient of the input goes on first.
#pragma once

#include <vector>

#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "parallel/gradient_reducer.h"

namespace trireme {

class Linear;

// Of the linear layers of one microbatch.
class DeferredGradients {
 public:
  // Neither tensor changes before run().
  void add(const Linear& layer, Tensor dy_NO, Tensor x_NI);
  // Adds them to the layers' gradients, in the order in which they came, and forgets them.
  void run(GradientReducer& reducer, Stream stream);

 private:
  struct Product {
    const Linear* layer;
    Tensor dy_NO;
    Tensor x_NI;
  };
  std::vector<Product> products_;
};

// Whether a layer's weights wait, and where dy then stays.
struct Deferral {
  DeferredGradients* queue = nullptr;
  Tensor dy_NO;
};

}  // namespace trireme
