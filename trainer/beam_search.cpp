#include "trainer/beam_search.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <limits>
#include <optional>
#include <utility>

#include <glog/logging.h>

#include "kernels/buffer.h"
#include "kernels/cross_entropy.h"
#include "kernels/host_copy.h"
#include "kernels/top_k.h"
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
  std::vector<Candidate> candidates;  // of the step: the best of each hypothesis
};

double length_penalty(std::int64_t tokens, double alpha) {
  return std::pow((5.0 + static_cast<double>(tokens)) / 6.0, alpha);
}

// Of rows of logits what candidates are made of, found where the model computes.
class Best {
 public:
  Best(std::int64_t most_rows, std::int64_t tokens, Device device)
      : num_tokens_(tokens), memory_(2 * most_rows * (tokens + 1) * size_bytes(DType::kFloat32), device) {}

  // Waits for the results.
  void find(Tensor logits_NV, Tensor ends_N, Stream stream) {
    const std::int64_t n = logits_NV.dim(0);
    const auto tensor = [&](DType dtype, const Shape& shape, std::int64_t first) {
      return memory_.tensor(dtype, shape, first * n * size_bytes(DType::kFloat32));
    };
    const Tensor lse = tensor(DType::kFloat32, {n}, 0), of_end = tensor(DType::kFloat32, {n}, 1);
    const Tensor logits = tensor(DType::kFloat32, {n, num_tokens_}, 2);
    const Tensor tokens = tensor(DType::kInt32, {n, num_tokens_}, 2 + num_tokens_);
    cross_entropy_forward(lse, of_end, /*smoothed_logit_N=*/{}, logits_NV, ends_N, /*label_smoothing=*/0.0F,
                          stream);
    top_k(logits, tokens, logits_NV, stream);
    num_rows_ = n;
    found_ = host_copy<std::int32_t>(tensor(DType::kInt32, {2 * n * (num_tokens_ + 1)}, 0), stream);
  }

  double lse(std::int64_t row) const { return number(row); }
  float logit_of_end(std::int64_t row) const { return number(num_rows_ + row); }
  // The i-th of the row's likeliest, which are in no order of likelihood.
  float logit(std::int64_t row, std::int64_t i) const {
    return number(2 * num_rows_ + row * num_tokens_ + i);
  }
  std::int32_t token(std::int64_t row, std::int64_t i) const {
    return bits((2 + num_tokens_) * num_rows_ + row * num_tokens_ + i);
  }

 private:
  std::int32_t bits(std::int64_t i) const { return found_[static_cast<std::size_t>(i)]; }
  float number(std::int64_t i) const { return std::bit_cast<float>(bits(i)); }

  std::int64_t num_tokens_;
  std::int64_t num_rows_ = 0;
  Buffer memory_;
  std::vector<std::int32_t> found_;  // all of memory_, so that one copy brings it
};

class BeamSearch {
 public:
  BeamSearch(EncoderDecoder& model, std::span<const std::vector<std::int32_t>> sources, std::int32_t end,
             const BeamOptions& options)
      : model_(model),
        end_(end),
        options_(options),
        upload_(model.stream()),
        most_rows_(std::min(model.max_logit_rows(), std::ssize(sources) * options.beam)),
        best_(most_rows_, num_candidates(), model.stream().device()),
        translations_(sources.size()) {
    std::size_t longest = 0;
    for (const auto& source : sources) longest = std::max(longest, source.size() + 1);
    std::vector<std::int32_t> tokens(sources.size() * longest, end);
    std::vector<std::int32_t> lengths;
    std::int64_t most_tokens = 0;
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

  // Twice as many as the beam is wide, so that it is full again when half of them end.
  std::int64_t num_candidates() const { return std::min(2 * options_.beam, model_.options().vocabulary); }

  // Of each hypothesis the best candidates, among which are the sentence's.
  void find_candidates() {
    const Stream stream = model_.stream();
    upload_.begin();
    const Tensor hidden = cache_->decode(upload_.bring({next_tokens_.data(), DType::kInt32, {rows()}}));
    std::vector<std::int32_t> ends(static_cast<std::size_t>(most_rows_), end_);
    const Tensor ends_N = upload_.bring({ends.data(), DType::kInt32, {most_rows_}});
    for (std::int64_t begin = 0; begin < rows(); begin += most_rows_) {
      const std::int64_t count = std::min(most_rows_, rows() - begin);
      const Tensor logits = model_.logits(hidden.slice(0, begin, begin + count), stream);
      best_.find(logits, ends_N.slice(0, 0, count), stream);
      for (std::int64_t i = 0; i < count; ++i) add_candidates(begin + i, i);
    }
  }

  // Those of a row, of which best_ knows as its row i.
  void add_candidates(std::int64_t row, std::int64_t i) {
    Sentence& sentence = sentences_[static_cast<std::size_t>(row / options_.beam)];
    const std::int64_t number = row % options_.beam;
    const double so_far = sentence.live[static_cast<std::size_t>(number)].log_probability;
    if (so_far == kNever) return;
    const auto add = [&](std::int32_t token, float logit) {
      const double log_probability = so_far + (static_cast<double>(logit) - best_.lse(i));
      sentence.candidates.push_back(
          {.log_probability = log_probability, .hypothesis = number, .token = token});
    };
    if (cache_->length() == sentence.max_tokens) {  // it must end
      add(end_, best_.logit_of_end(i));
      return;
    }
    for (std::int64_t j = 0; j < num_candidates(); ++j) add(best_.token(i, j), best_.logit(i, j));
  }

  // Ends and continues hypotheses by the candidates; parents_ tells where each of the sentence's rows came
  // from.
  void extend(Sentence& sentence) {
    const std::int64_t first_row = (&sentence - sentences_.data()) * options_.beam;
    const auto beam = static_cast<std::size_t>(options_.beam);
    std::vector<Candidate>& best = sentence.candidates;
    const std::size_t kept = std::min(best.size(), 2 * beam);
    std::partial_sort(best.begin(), best.begin() + static_cast<std::ptrdiff_t>(kept), best.end());
    best.resize(kept);
    std::vector<Hypothesis> next;
    std::size_t rank = 0;
    for (const Candidate& candidate : best) {
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
    best.clear();
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
  const std::int64_t most_rows_;  // of logits at a time
  Best best_;
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
  CHECK_GE(options.beam, 1);
  if (sources.empty()) return {};
  return BeamSearch(model, sources, end, options).run();
}

}  // namespace trireme
