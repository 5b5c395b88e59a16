#include "kernels/embedding.h"

#include <glog/logging.h>

#include "kernels/check.h"
#include "kernels/dispatch.h"

namespace trireme {

TRIREME_DECLARE(embedding_forward)
TRIREME_DECLARE(embedding_backward)

namespace {

void check_embedding(const OperandCheck& check, Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC,
                     Tensor position_table_PC, std::int64_t first_position, Tensor positions_BT,
                     DType token_dtype, DType position_dtype, Dropout dropout, VocabularyPart part) {
  check.num_dims("x", x_BTC, 3);
  check.num_dims("token_table", token_table_VC, 2);
  const std::int64_t t = x_BTC.dim(1);
  const std::int64_t c = x_BTC.dim(2);
  check.operand("x", x_BTC, x_BTC.shape(), Layout::kContiguous, x_BTC.dtype());
  check.operand("tokens", tokens_BT, {x_BTC.dim(0), t}, Layout::kContiguous, DType::kInt32);
  check.operand("token_table", token_table_VC, {token_table_VC.dim(0), c}, Layout::kContiguous, token_dtype);
  check.dropout(dropout);
  if (position_table_PC) {
    check.num_dims("position_table", position_table_PC, 2);
    check.operand("position_table", position_table_PC, {position_table_PC.dim(0), c}, Layout::kContiguous,
                  position_dtype);
    check.positions(positions_BT, tokens_BT.shape(), first_position, position_table_PC.dim(0));
  }
  const std::int64_t v = part.whole > 0 ? part.whole : token_table_VC.dim(0);
  CHECK(0 <= part.first && part.first + token_table_VC.dim(0) <= v)
      << "embedding: tokens [" << part.first << ", " << part.first + token_table_VC.dim(0)
      << ") of a vocabulary of " << v;
  if (!tokens_BT.device().is_cpu()) return;
  const std::int32_t* const tokens = tokens_BT.data<std::int32_t>();
  for (std::int64_t i = 0; i < tokens_BT.num_elements(); ++i) {
    CHECK(0 <= tokens[i] && tokens[i] < v)
        << "embedding: token " << tokens[i] << " at " << i << ", of a vocabulary of " << v;
  }
}

}  // namespace

void embedding_forward(Tensor x_BTC, Tensor tokens_BT, Tensor token_table_VC, Tensor position_table_PC,
                       std::int64_t first_position, Tensor positions_BT, float scale, Dropout dropout,
                       Stream stream, VocabularyPart part) {
  const OperandCheck check("embedding_forward", stream.device());
  const DType dtype = check.type_of_numbers("x", x_BTC);
  const DType position_dtype = position_table_PC.dtype() == dtype ? dtype : DType::kFloat32;
  check_embedding(check, x_BTC, tokens_BT, token_table_VC, position_table_PC, first_position, positions_BT,
                  dtype, position_dtype, dropout, part);
  TRIREME_RUN(embedding_forward, stream)
  (x_BTC, tokens_BT, token_table_VC, position_table_PC, first_position, positions_BT, scale, dropout, stream,
   part);
}

void embedding_backward(Tensor dtoken_table_VC, Tensor dposition_table_PC, Tensor dx_BTC, Tensor tokens_BT,
                        Tensor positions_BT, float scale, Dropout dropout, Stream stream,
                        VocabularyPart part) {
  const OperandCheck check("embedding_backward", stream.device());
  const DType dtype = check.type_of_numbers("dx", dx_BTC);
  const DType token_dtype = dtoken_table_VC.dtype() == dtype ? dtype : DType::kFloat32;
  check_embedding(check, dx_BTC, tokens_BT, dtoken_table_VC, dposition_table_PC, 0, positions_BT, token_dtype,
                  DType::kFloat32, dropout, part);
  TRIREME_RUN(embedding_backward, stream)
  (dtoken_table_VC, dposition_table_PC, dx_BTC, tokens_BT, positions_BT, scale, dropout, stream, part);
}

}  // namespace trireme
