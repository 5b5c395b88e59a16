#include "trainer/beam_search.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "kernels/buffer.h"
#include "kernels/cross_entropy.h"
#include "kernels/host_copy.h"
#include "trainer/model/translation_cache.h"
#include "trainer/token_upload.h"

namespace trireme {
namespace {

constexpr double kNever = -std::numeric_limits<double>::infinity();

// A live hypothesis with one more token.
struct Candidate {
  double log_probability = kNever;
  std::int64_t hypothesis = 0;  // of its sentence
  std::int32_t token = 0;

  // Equal ones in a fixed order.
  bool operator<(const Candidate& other) const {
    if (log_probability != other.log_probability) return log_probability > other.log_probability;
    return hypothesis != other.hypothesis ? hypothesis < other.hypothesis : token < other.token;
  }
};

struct Hypothesis {
  std::vector<std::int32_t> tokens;
  double log_probability = kNever;
};

struct Sentence {
  std::size_t number = 0;  // among all
  std::int64_t max_tokens = 0;
  std::vector<Hypothesis> live;  // as many as the beam is wide
  Translation best;
  std::vector<Candidate> candidates;  // the best so far of the step, as a heap: the worst first
};

double length_penalty(std::int64_t tokens, double alpha) {
  return std::pow((5.0 + static_cast<double>(tokens)) / 6.0, alpha);
}

class BeamSearch {
 public:
  BeamSearch(EncoderDecoder& model, std::span<const std::vector<std::int32_t>> sources, std::int32_t end,
             const BeamOptions& options)
      : model_(model), end_(end), options_(options), upload_(model.stream()), translations_(sources.size()) {
    std::size_t longest = 0;
    for (const auto& source : sources) longest = std::max(longest, source.size() + 1);
    std::vector<std::int32_t> tokens(sources.size() * longest, end);
    std::vector<std::int32_t> lengths;
    std::int64_t most_tokens = 0;
    CHECK_GE(options.beam, 1);
    CHECK_LE(static_cast<std::int64_t>(longest), model.options().context);
    for (std::size_t i = 0; i < sources.size(); ++i) {
      CHECK(!sources[i].empty());
      std::copy(sources[i].begin(), sources[i].end(),
                tokens.begin() + static_cast<std::ptrdiff_t>(i * longest));
      lengths.push_back(static_cast<std::int32_t>(sources[i].size() + 1));
      const auto asked = static_cast<std::int64_t>(options.max_ratio * lengths.back() + 10.0);
      Sentence sentence{.number = i, .max_tokens = std::min(asked, model.options().context)};
      sentence.live.resize(static_cast<std::size_t>(options.beam));
      sentence.live.front().log_probability = 0.0;
      sentence.best.score = kNever;
      most_tokens = std::max(most_tokens, sentence.max_tokens);
      sentences_.push_back(std::move(sentence));
    }
    const auto batch = static_cast<std::int64_t>(sources.size());
    const Shape padded = {batch, static_cast<std::int64_t>(longest)};
    cache_.emplace(model, upload_.bring({tokens.data(), DType::kInt32, padded}),
                   upload_.bring({lengths.data(), DType::kInt32, {batch}}), options.beam, most_tokens);
    next_tokens_.assign(static_cast<std::size_t>(batch * options.beam), end);
  }

  std::vector<Translation> run() {
    while (!sentences_.empty()) {
      find_candidates();
      for (Sentence& sentence : sentences_) extend(sentence);
      go_on();
    }
    return std::move(translations_);
  }

 private:
  std::int64_t rows() const { return static_cast<std::int64_t>(next_tokens_.size()); }

  // Of each sentence the best candidates: twice the beam, so that it is full again when half of them end.
  void find_candidates() {
    const Stream stream = model_.stream();
    upload_.begin();
    const Tensor hidden = cache_->decode(upload_.bring({next_tokens_.data(), DType::kInt32, {rows()}}));
    const std::int64_t chunk = std::min(model_.max_logit_rows(), rows());
    std::vector<std::int32_t> targets(static_cast<std::size_t>(chunk), end_);
    const Tensor targets_N = upload_.bring({targets.data(), DType::kInt32, {chunk}});
    const Buffer memory(2 * chunk * size_bytes(DType::kFloat32), stream.device());
    for (std::int64_t begin = 0; begin < rows(); begin += chunk) {
      const std::int64_t count = std::min(chunk, rows() - begin);
      const Tensor logits = model_.logits(hidden.slice(0, begin, begin + count), stream);
      const Tensor lse_N = memory.tensor(DType::kFloat32, {count});
      const Tensor unused_N = memory.tensor(DType::kFloat32, {count}, chunk * size_bytes(DType::kFloat32));
      cross_entropy_forward(lse_N, unused_N, /*smoothed_logit_N=*/{}, logits, targets_N.slice(0, 0, count),
                            /*label_smoothing=*/0.0F, stream);
      const auto lse = host_copy<float>(lse_N, stream);
      const auto rows_of_logits = host_copy<float>(logits, stream);
      for (std::int64_t i = 0; i < count; ++i) {
        add_candidates(begin + i, rows_of_logits.data() + i * logits.dim(1),
                       lse[static_cast<std::size_t>(i)]);
      }
    }
  }

  void add_candidates(std::int64_t row, const float* logits, float lse) {
    Sentence& sentence = sentences_[static_cast<std::size_t>(row / options_.beam)];
    const std::int64_t number = row % options_.beam;
    const double so_far = sentence.live[static_cast<std::size_t>(number)].log_probability;
    if (so_far == kNever) return;
    const bool must_end = cache_->length() == sentence.max_tokens;
    const auto most = static_cast<std::size_t>(2 * options_.beam);
    std::vector<Candidate>& best = sentence.candidates;
    const auto vocabulary = static_cast<std::int32_t>(model_.options().vocabulary);
    for (std::int32_t token = must_end ? end_ : 0; token < (must_end ? end_ + 1 : vocabulary); ++token) {
      const Candidate candidate{.log_probability = so_far + (static_cast<double>(logits[token]) - lse),
                                .hypothesis = number,
                                .token = token};
      if (best.size() == most) {
        if (!(candidate < best.front())) continue;
        std::pop_heap(best.begin(), best.end());
        best.pop_back();
      }
      best.push_back(candidate);
      std::push_heap(best.begin(), best.end());
    }
  }

  // Ends and continues hypotheses by the candidates; parents_ tells where each of the sentence's rows came
  // from.
  void extend(Sentence& sentence) {
    std::sort(sentence.candidates.begin(), sentence.candidates.end());
    const std::int64_t first_row = (&sentence - sentences_.data()) * options_.beam;
    const auto beam = static_cast<std::size_t>(options_.beam);
    std::vector<Hypothesis> next;
    std::size_t rank = 0;
    for (const Candidate& candidate : sentence.candidates) {
      const Hypothesis& from = sentence.live[static_cast<std::size_t>(candidate.hypothesis)];
      // An end counts if it is among the best as many as the beam is wide: another was not followed.
      if (candidate.token == end_) {
        if (rank++ < beam) finish(sentence, from, candidate.log_probability);
        continue;
      }
      ++rank;
      if (next.size() == beam) continue;
      next.push_back({.tokens = from.tokens, .log_probability = candidate.log_probability});
      next.back().tokens.push_back(candidate.token);
      parents_.push_back(first_row + candidate.hypothesis);
    }
    while (next.size() < beam) {
      next.emplace_back();
      parents_.push_back(first_row);
    }
    sentence.live = std::move(next);
    sentence.candidates.clear();
  }

  void finish(Sentence& sentence, const Hypothesis& hypothesis, double log_probability) const {
    const double score = log_probability / length_penalty(cache_->length(), options_.alpha);
    if (score <= sentence.best.score) return;
    sentence.best = {.tokens = hypothesis.tokens, .log_probability = log_probability, .score = score};
  }

  // Whether the best live hypothesis can't win any more: it will not be likelier, at best longer.
  bool is_done(const Sentence& sentence) const {
    const std::int64_t longest = options_.alpha > 0.0 ? sentence.max_tokens : cache_->length() + 1;
    const double hope = sentence.live.front().log_probability / length_penalty(longest, options_.alpha);
    return sentence.best.score >= hope;
  }

  // Drops the sentences that are done; the others' hypotheses become the rows of the next step.
  void go_on() {
    const auto beam = static_cast<std::size_t>(options_.beam);
    std::vector<std::int64_t> parents, kept;
    std::vector<Sentence> left;
    next_tokens_.clear();
    for (std::size_t i = 0; i < sentences_.size(); ++i) {
      Sentence& sentence = sentences_[i];
      if (is_done(sentence)) {
        translations_[sentence.number] = std::move(sentence.best);
        continue;
      }
      kept.push_back(static_cast<std::int64_t>(i));
      for (std::size_t h = 0; h < beam; ++h) {
        parents.push_back(parents_[i * beam + h]);
        next_tokens_.push_back(sentence.live[h].tokens.empty() ? end_ : sentence.live[h].tokens.back());
      }
      left.push_back(std::move(sentence));
    }
    sentences_ = std::move(left);
    parents_.clear();
    if (!sentences_.empty()) cache_->select(parents, kept);
  }

  EncoderDecoder& model_;
  const std::int32_t end_;
  const BeamOptions options_;
  TokenUpload upload_;
  std::vector<Translation> translations_;
  std::vector<Sentence> sentences_;  // those that are not done
  std::optional<TranslationCache> cache_;
  std::vector<std::int32_t> next_tokens_;  // of each row
  std::vector<std::int64_t> parents_;      // of each row of the next step
};

}  // namespace

std::vector<Translation> beam_search(EncoderDecoder& model,
                                     std::span<const std::vector<std::int32_t>> sources, std::int32_t end,
                                     const BeamOptions& options) {
  if (sources.empty()) return {};
  return BeamSearch(model, sources, end, options).run();
}

}  // namespace trireme
