// Activations, element by element.
#pragma once

#include "kernels/activation.h"

namespace trireme::reference {

double activation(Activation kind, double x);
double activation_derivative(Activation kind, double x);

}  // namespace trireme::reference
