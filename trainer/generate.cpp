#include "trainer/generate.h"

#include <algorithm>

#include <glog/logging.h>

#include "kernels/buffer.h"
#include "kernels/host_copy.h"
#include "trainer/token_upload.h"

namespace trireme {

void generate(Transformer& model, std::vector<std::int32_t> prompt, std::int64_t max_tokens,
              const SamplingOptions& options, const std::function<bool(std::int32_t)>& emit) {
  CHECK(!prompt.empty());
  const std::int64_t context = model.options().context;
  KeyValueCacheMemory memory(model.options(), /*batch=*/1, model.stream().device());
  TokenUpload upload(model.stream());
  const Buffer next(size_bytes(DType::kInt32), model.stream().device());
  const Tensor next_1 = next.tensor(DType::kInt32, {1});
  KeyValueCache& cache = memory.cache();
  std::vector<std::int32_t>& text = prompt;
  auto unread = static_cast<std::int64_t>(text.size());  // tokens at the end of the text that the cache lacks
  for (std::int64_t i = 0; i < max_tokens; ++i) {
    if (cache.length + unread > context) {
      cache.length = 0;
      unread = std::min(static_cast<std::int64_t>(text.size()), std::max<std::int64_t>(1, context / 2));
    }
    const Tensor tokens(text.data() + text.size() - unread, DType::kInt32, {1, unread});
    upload.begin();
    const Tensor logits = model.next_token_logits(
        upload.bring(tokens), {.batch = 1, .sequence = unread, .cache = &cache, .stream = model.stream()});
    sample_tokens(next_1, logits, options, static_cast<std::uint64_t>(i), model.stream());
    text.push_back(host_copy<std::int32_t>(next_1, model.stream()).front());
    unread = 1;
    if (!emit(text.back())) return;
  }
}

}  // namespace trireme
