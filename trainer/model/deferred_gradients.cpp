#include "trainer/model/deferred_gradients.h"

#include "trainer/model/linear.h"

namespace trireme {

void DeferredGradients::add(const Linear& layer, Tensor dy_NO, Tensor x_NI) {
  products_.push_back({.layer = &layer, .dy_NO = dy_NO, .x_NI = x_NI});
}

void DeferredGradients::run(GradientReducer& reducer, Stream stream) {
  for (const Product& product : products_)
    product.layer->backward_weight(product.dy_NO, product.x_NI, reducer, stream);
  products_.clear();
}

}  // namespace trireme
