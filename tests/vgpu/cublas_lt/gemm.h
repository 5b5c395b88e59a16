#pragma once

#include <cstdint>

namespace trireme::vgpu {

// A matrix of float or bf16, column after column.
struct Matrix {
  uint8_t* data = nullptr;
  bool is_bf16 = false;
  int64_t rows = 0;
  int64_t columns = 0;
  int64_t stride = 0;  // elements from one column to the next

  float get(int64_t row, int64_t column) const;
  void set(int64_t row, int64_t column, float value) const;
};

enum class Activation { kNone, kGelu, kGeluDerivative };

struct Gemm {
  Matrix a, b, c, d;
  bool transpose_a = false;
  bool transpose_b = false;
  float alpha = 1;
  float beta = 0;
  Matrix bias;  // one column, of d's rows; no data: none
  Activation activation = Activation::kNone;
  Matrix auxiliary;  // what the activation is applied to: written by kGelu, read by kGeluDerivative; may have
                     // no data
  Matrix bias_gradient;  // one column
  enum class SumOf { kNone, kA, kB, kD } bias_gradient_of = SumOf::kNone;
};

// d = activation(alpha op(a) op(b) + beta c + bias), summed in float as tensor cores do, rounded when it is
// stored.
void run(const Gemm& gemm);

}  // namespace trireme::vgpu
