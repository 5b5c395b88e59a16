// What a model that learns no positions knows about them: constant tables.
#pragma once

#include "kernels/buffer.h"
#include "kernels/stream.h"
#include "kernels/tensor.h"
#include "trainer/model/transformer_options.h"

namespace trireme {

class PositionTables {
 public:
  // On the stream's device.
  explicit PositionTables(const TransformerOptions& options, Stream stream = {});

  // Sines in even columns and cosines in odd ones, of wave lengths from 2 pi to 10000 2 pi ("Attention Is All
  // You Need", section 3.5).  Of positions `sinusoidal`; empty otherwise.
  Tensor sinusoids_PC() const { return sinusoids_PC_; }
  // The same of the loops of a looped stack, from 1 on.
  Tensor loop_signals_LC() const { return loop_signals_LC_; }
  // cos and sin of position times each of rope_frequencies (RoPE; Su et al. 2021), D' = D / 2.  Of positions
  // `rope`.
  Tensor rope_cos_PD() const { return rope_cos_PD_; }
  Tensor rope_sin_PD() const { return rope_sin_PD_; }
  // 2^(-8 (h + 1) / H) (ALiBi; Press, Smith, Lewis 2022); where H is no power of two, those of the next lower
  // one, and between them as many of the next higher one's as are missing.  Of positions `alibi`.
  Tensor alibi_slopes_H() const { return alibi_slopes_H_; }

 private:
  // Makes the tables in the CPU's memory.
  void make(const TransformerOptions& options);
  void move_to(Stream stream);

  Buffer memory_;
  Tensor sinusoids_PC_;
  Buffer loop_memory_;
  Tensor loop_signals_LC_;
  Tensor rope_cos_PD_;
  Tensor rope_sin_PD_;
  Tensor alibi_slopes_H_;
};

}  // namespace trireme
