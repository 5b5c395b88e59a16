#include "kernels/embedding.h"

#include "kernels/cpu/dropout_mask.h"
#include "kernels/cpu/isa.h"
#include "kernels/cpu/parallel_for.h"
#include "kernels/cpu/scratch.h"
#include "kernels/cpu/simd.h"

TRIREME_BEGIN_ISA

void embedding_forward(Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC, Tensor position_table_PC,
                       std::int64_t first_position, Tensor positions_BT, float scale, Dropout dropout, Stream,
                       VocabularyPart part) {
  const std::int64_t length = x_BTC.dim(1);
  const std::int64_t width = x_BTC.dim(2);
  float* const x = x_BTC.data<float>();
  const std::int32_t* const tokens = tokens_BT.data<std::int32_t>();
  const float* const token_table = token_table_VC ? token_table_VC.data<float>() : nullptr;
  const std::int64_t num_rows = token_table_VC.dim(0);
  const float* const position_table = position_table_PC ? position_table_PC.data<float>() : nullptr;
  const std::int32_t* const positions = positions_BT ? positions_BT.data<std::int32_t>() : nullptr;
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;

  parallel_for(tokens_BT.num_elements(), 8, [=](std::int64_t begin, std::int64_t end) {
    float* const factors = mask_if_any == nullptr ? nullptr : scratch_of_thread(width);
    for (std::int64_t n = begin; n < end; ++n) {
      float* const out = x + n * width;
      const std::int64_t row = tokens[n] - part.first;
      const float* const token = 0 <= row && row < num_rows ? token_table + row * width : nullptr;
      const float* position = nullptr;
      if (position_table != nullptr) {
        const std::int64_t place = positions == nullptr ? first_position + n % length : positions[n];
        position = position_table + place * width;
      }
      if (token == nullptr) {
        for (std::int64_t c = 0; c < width; ++c) out[c] = position == nullptr ? 0.0F : position[c];
      } else if (position == nullptr) {
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) out[c] = scale * token[c];
      } else {
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) out[c] = scale * token[c] + position[c];
      }
      if (mask_if_any != nullptr) {
        mask_if_any->draw(factors, n * width, width);
#pragma omp simd
        for (std::int64_t c = 0; c < width; ++c) out[c] *= factors[c];
      }
    }
  });
}

void embedding_backward(Tensor dtoken_table_VC, Tensor dposition_table_PC, Tensor dx_BTC, Tensor tokens_BT,
                        Tensor positions_BT, float scale, Dropout dropout, Stream, VocabularyPart part) {
  const std::int64_t length = dx_BTC.dim(1);
  const std::int64_t width = dx_BTC.dim(2);
  const std::int64_t num_tokens = tokens_BT.num_elements();
  const float* const dx = dx_BTC.data<float>();
  const std::int32_t* const tokens = tokens_BT.data<std::int32_t>();
  float* const dtokens = dtoken_table_VC ? dtoken_table_VC.data<float>() : nullptr;
  const std::int64_t num_rows = dtoken_table_VC.dim(0);
  const std::int32_t* const positions = positions_BT ? positions_BT.data<std::int32_t>() : nullptr;
  float* const dpositions = dposition_table_PC ? dposition_table_PC.data<float>() : nullptr;
  const DropoutMask mask(dropout);
  const DropoutMask* const mask_if_any = dropout ? &mask : nullptr;

  // Each thread owns columns of both tables, so that tokens that occur twice need no lock and no order.
  constexpr std::int64_t kColumns = 64;
  parallel_for(width, kColumns, [=](std::int64_t begin, std::int64_t end) {
    alignas(64) float gradient[kColumns];
    for (std::int64_t n = 0; n < num_tokens; ++n) {
      const float* const row = dx + n * width;
      if (mask_if_any != nullptr) {
        mask_if_any->draw(gradient, n * width + begin, end - begin);
        for (std::int64_t c = begin; c < end; ++c) gradient[c - begin] *= row[c];
      } else {
        for (std::int64_t c = begin; c < end; ++c) gradient[c - begin] = row[c];
      }
      const std::int64_t token = tokens[n] - part.first;
      if (0 <= token && token < num_rows) {
        float* const dtoken = dtokens + token * width;
#pragma omp simd
        for (std::int64_t c = begin; c < end; ++c) dtoken[c] += scale * gradient[c - begin];
      }
      if (dpositions == nullptr) continue;
      float* const dposition = dpositions + (positions == nullptr ? n % length : positions[n]) * width;
#pragma omp simd
      for (std::int64_t c = begin; c < end; ++c) dposition[c] += gradient[c - begin];
    }
  });
}

TRIREME_END_ISA
