#include "tests/reference/attention.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "tests/reference/dropout.h"

namespace trireme::reference {
namespace {

// One query of one head: where its numbers lie, and its probabilities.
class Query {
 public:
  Query(const Array& q, const Array& k, const AttentionSizes& sizes, const AttentionMasks& masks,
        std::int64_t b, std::int64_t h, std::int64_t t)
      : sizes_(sizes), masks_(masks), b_(b), h_(h), t_(t), p(zeros(sizes.s)) {
    double largest = -std::numeric_limits<double>::infinity();
    for (std::int64_t s = 0; s < sizes.s; ++s) {
      if (!sees(s)) continue;
      for (std::int64_t d = 0; d < sizes.d; ++d) {
        at(p, s) += masks.options.scale * at(q, query(d)) * at(k, key(s, d));
      }
      if (!masks.alibi_slopes.empty())
        at(p, s) -= at(masks.alibi_slopes, h) * static_cast<double>(std::abs(distance(s)));
      largest = std::max(largest, at(p, s));
    }
    double sum = 0.0;
    for (std::int64_t s = 0; s < sizes.s; ++s) sum += sees(s) ? std::exp(at(p, s) - largest) : 0.0;
    lse = largest + std::log(sum);
    if (sum == 0.0) lse = -std::numeric_limits<double>::infinity();
    for (std::int64_t s = 0; s < sizes.s; ++s) at(p, s) = sees(s) ? std::exp(at(p, s) - lse) : 0.0;
  }

  std::int64_t distance(std::int64_t s) const { return t_ + sizes_.s - sizes_.t - s; }
  bool sees(std::int64_t s) const {
    const AttentionOptions& options = masks_.options;
    if (options.causal && distance(s) < 0) return false;
    if (options.window > 0 && std::abs(distance(s)) >= options.window) return false;
    return masks_.query_documents.empty() ||
           masks_.query_documents.at(static_cast<std::size_t>(b_ * sizes_.t + t_)) ==
               masks_.key_documents.at(static_cast<std::size_t>(b_ * sizes_.s + s));
  }
  std::int64_t query(std::int64_t d) const { return ((b_ * sizes_.t + t_) * sizes_.h + h_) * sizes_.d + d; }
  std::int64_t key(std::int64_t s, std::int64_t d) const {
    return ((b_ * sizes_.s + s) * sizes_.k + h_ / (sizes_.h / sizes_.k)) * sizes_.d + d;
  }
  double dropout(std::int64_t s) const {
    return attention_dropout_factor(masks_.options, sizes_, b_, h_, t_, s);
  }

 private:
  const AttentionSizes& sizes_;
  const AttentionMasks& masks_;
  std::int64_t b_, h_, t_;

 public:
  Array p;  // [S], before dropout
  double lse = 0.0;
};

template <typename Body>
void for_each_query(const AttentionSizes& sizes, Body body) {
  for (std::int64_t b = 0; b < sizes.b; ++b) {
    for (std::int64_t h = 0; h < sizes.h; ++h) {
      for (std::int64_t t = 0; t < sizes.t; ++t) body(b, h, t);
    }
  }
}

}  // namespace

double attention_dropout_factor(const AttentionOptions& options, const AttentionSizes& sizes, std::int64_t b,
                                std::int64_t h, std::int64_t t, std::int64_t s) {
  const std::int64_t num_masks = options.mask_heads > 0 ? options.mask_heads : sizes.h;
  const std::int64_t mask = b * num_masks + options.first_head + h;
  const std::int64_t row = (sizes.s + 3) / 4 * 4;
  return dropout_factor(options.dropout, (mask * sizes.t + t) * row + s);
}

Attention attention(const Array& q, const Array& k, const Array& v, const AttentionSizes& sizes,
                    const AttentionMasks& masks) {
  Attention result{zeros(sizes.b * sizes.t * sizes.h * sizes.d), zeros(sizes.b * sizes.h * sizes.t)};
  for_each_query(sizes, [&](std::int64_t b, std::int64_t h, std::int64_t t) {
    const Query query(q, k, sizes, masks, b, h, t);
    at(result.lse, (b * sizes.h + h) * sizes.t + t) = query.lse;
    for (std::int64_t s = 0; s < sizes.s; ++s) {
      const double weight = at(query.p, s) * query.dropout(s);
      for (std::int64_t d = 0; d < sizes.d; ++d)
        at(result.out, query.query(d)) += weight * at(v, query.key(s, d));
    }
  });
  return result;
}

Array attention_probabilities(const Array& q, const Array& k, const AttentionSizes& sizes,
                              const AttentionMasks& masks) {
  Array result;
  for_each_query(sizes, [&](std::int64_t b, std::int64_t h, std::int64_t t) {
    const Query query(q, k, sizes, masks, b, h, t);
    result.insert(result.end(), query.p.begin(), query.p.end());
  });
  return result;
}

AttentionGradients attention_backward(const Array& dout, const Array& q, const Array& k, const Array& v,
                                      const AttentionSizes& sizes, const AttentionMasks& masks) {
  AttentionGradients result{zeros(std::ssize(q)), zeros(std::ssize(k)), zeros(std::ssize(v))};
  for_each_query(sizes, [&](std::int64_t b, std::int64_t h, std::int64_t t) {
    const Query query(q, k, sizes, masks, b, h, t);
    Array dp = zeros(sizes.s);
    double sum = 0.0;  // over keys of p dp
    for (std::int64_t s = 0; s < sizes.s; ++s) {
      for (std::int64_t d = 0; d < sizes.d; ++d) {
        at(dp, s) += at(dout, query.query(d)) * at(v, query.key(s, d)) * query.dropout(s);
        at(result.dv, query.key(s, d)) += at(query.p, s) * query.dropout(s) * at(dout, query.query(d));
      }
      sum += at(query.p, s) * at(dp, s);
    }
    for (std::int64_t s = 0; s < sizes.s; ++s) {
      const double dscore = at(query.p, s) * (at(dp, s) - sum) * masks.options.scale;
      for (std::int64_t d = 0; d < sizes.d; ++d) {
        at(result.dq, query.query(d)) += dscore * at(k, query.key(s, d));
        at(result.dk, query.key(s, d)) += dscore * at(q, query.query(d));
      }
    }
  });
  return result;
}

}  // namespace trireme::reference
