// Who sees whom in attention: a range of keys for each query.
#pragma once

#include <cstdint>

#include "kernels/attention.h"
#include "kernels/cpu/isa.h"

TRIREME_BEGIN_ISA

// One sequence.  Causality, window and documents leave each query one range of keys, because documents don't
// fall along a row; and from one query to the next neither end of the range falls.  So what a block of
// queries sees lies between the first one's begin and the last one's end, all of them see what lies between
// the last one's begin and the first one's end, and the queries that see a key are found by bisection.
struct SequenceMask {
  const std::int32_t* begins;  // [T]
  const std::int32_t* ends;    // [T]; not after the begin where a query sees nothing
  std::int64_t num_queries;
  std::int64_t shift;  // query t stands at the position of key t + shift

  // The first query whose range ends after `key`; T if there is none.
  std::int64_t first_ending_after(std::int64_t key) const { return first_above(ends, key); }
  // The first query whose range begins after `key`.
  std::int64_t first_beginning_after(std::int64_t key) const { return first_above(begins, key); }

 private:
  std::int64_t first_above(const std::int32_t* values, std::int64_t bound) const {
    std::int64_t below = 0;
    std::int64_t above = num_queries;
    while (below < above) {
      const std::int64_t middle = (below + above) / 2;
      if (values[middle] > bound) {
        above = middle;
      } else {
        below = middle + 1;
      }
    }
    return above;
  }
};

// All sequences of a call.
class AttentionMask {
 public:
  // In floats.
  static std::int64_t scratch_size(const AttentionOptions& options, std::int64_t num_sequences,
                                   std::int64_t num_queries) {
    return 2 * num_queries * (options.query_documents_BT ? num_sequences : 1);
  }

  // `scratch` has room for scratch_size().
  AttentionMask(float* scratch, const AttentionOptions& options, std::int64_t num_sequences,
                std::int64_t num_queries, std::int64_t num_keys)
      : ranges_(reinterpret_cast<std::int32_t*>(scratch)),
        is_shared_(!options.query_documents_BT),
        num_queries_(num_queries),
        num_keys_(num_keys) {
    for (std::int64_t b = 0; b < (is_shared_ ? 1 : num_sequences); ++b) fill(options, b);
  }

  SequenceMask sequence(std::int64_t b) const {
    const std::int32_t* const begins = ranges_ + (is_shared_ ? 0 : b * 2 * num_queries_);
    return {begins, begins + num_queries_, num_queries_, num_keys_ - num_queries_};
  }

 private:
  void fill(const AttentionOptions& options, std::int64_t b) {
    std::int32_t* const begins = ranges_ + b * 2 * num_queries_;
    std::int32_t* const ends = begins + num_queries_;
    const std::int32_t* queries = nullptr;
    const std::int32_t* keys = nullptr;
    if (!is_shared_) {
      queries = options.query_documents_BT.data<std::int32_t>() + b * num_queries_;
      keys = options.key_documents_BS.data<std::int32_t>() + b * num_keys_;
    }
    // How far a query sees; without a limit, farther than there are keys.
    const std::int64_t all = num_queries_ + num_keys_;
    const std::int64_t left = options.window > 0 && options.window <= all ? options.window - 1 : all;
    const std::int64_t right = options.causal ? 0 : left;
    std::int64_t document_begin = 0;
    std::int64_t document_end = is_shared_ ? num_keys_ : 0;
    for (std::int64_t t = 0; t < num_queries_; ++t) {
      if (!is_shared_ && (t == 0 || queries[t] != queries[t - 1])) {
        document_begin = document_end;
        while (document_begin < num_keys_ && keys[document_begin] < queries[t]) ++document_begin;
        document_end = document_begin;
        while (document_end < num_keys_ && keys[document_end] == queries[t]) ++document_end;
      }
      const std::int64_t position = t + num_keys_ - num_queries_;
      const std::int64_t begin = position - left > document_begin ? position - left : document_begin;
      const std::int64_t end = position + right + 1 < document_end ? position + right + 1 : document_end;
      begins[t] = static_cast<std::int32_t>(begin);
      ends[t] = static_cast<std::int32_t>(end > 0 ? end : 0);
    }
  }

  std::int32_t* ranges_;  // of each sequence [2, T]; of one where all are the same
  bool is_shared_;
  std::int64_t num_queries_;
  std::int64_t num_keys_;
};

TRIREME_END_ISA
