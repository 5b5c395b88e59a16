// The masks of attention's kernels against the definition in kernels/attention.h, pair by pair.
#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>
#include <vector>

#include <gtest/gtest.h>

#include "kernels/buffer.h"
#include "kernels/elementwise.h"
#include "tests/kernels/cuda/mask_on_device.h"
#include "tests/kernels/operand.h"

namespace trireme {
namespace {

struct Case {
  int num_queries, num_keys;
  bool causal;
  int window = 0;
  // Documents grow by up to this after a random run of places; none if 0.
  int documents = 0;
};

const Case kCases[] = {
    {50, 50, true},       {50, 50, false},       {20, 70, true},         {20, 70, false},
    {70, 20, false},      {50, 50, true, 1},     {50, 50, false, 1},     {50, 50, true, 9},
    {50, 50, false, 9},   {20, 70, true, 13},    {20, 70, false, 13},    {70, 20, false, 13},
    {1, 64, true, 5},     {1, 64, false, 90},    {64, 1, false, 5},      {50, 50, true, 80},
    {50, 50, true, 0, 1}, {50, 50, false, 0, 1}, {70, 20, false, 6, 1},  {20, 70, true, 13, 1},
    {50, 50, true, 0, 3}, {50, 50, false, 0, 3}, {20, 70, false, 30, 2}, {40, 41, true, 4, 3},
};

std::string describe(const Case& c, int queries_per_block, int keys_per_block) {
  return std::to_string(c.num_queries) + " queries, " + std::to_string(c.num_keys) + " keys" +
         (c.causal ? ", causal" : "") + ", window " + std::to_string(c.window) + ", documents " +
         std::to_string(c.documents) + "; blocks of " + std::to_string(queries_per_block) + " and " +
         std::to_string(keys_per_block);
}

reference::Tokens documents_of(int places, int growth, std::uint64_t seed) {
  const reference::Tokens random = random_tokens(places, 7 * growth, seed);
  reference::Tokens documents;
  std::int32_t document = -2;
  for (const std::int32_t r : random) documents.push_back(document += r < growth ? r + 1 : 0);
  return documents;
}

// Integers of the device.
class Found {
 public:
  explicit Found(int count)
      : count_(count),
        there_(4 * count, test_device()),
        here_(Buffer::pinned_for(test_device(), 4 * count)) {}
  std::int32_t* data() const { return static_cast<std::int32_t*>(there_.data()); }
  const std::int32_t* values() const {
    copy(here_.tensor(DType::kInt32, {count_}), there_.tensor(DType::kInt32, {count_}), test_stream());
    test_stream().synchronize();
    return static_cast<const std::int32_t*>(here_.data());
  }

 private:
  std::int64_t count_;
  Buffer there_, here_;
};

class Problem {
 public:
  explicit Problem(const Case& c)
      : case_(c),
        query_documents_(c.documents > 0 ? documents_of(c.num_queries, c.documents, 1) : reference::Tokens()),
        key_documents_(c.documents > 0 ? documents_of(c.num_keys, c.documents, 2) : reference::Tokens()) {}

  // For causality and window.
  bool is_near(int query, int key) const {
    const int distance = query + case_.num_keys - case_.num_queries - key;
    return (!case_.causal || distance >= 0) && (case_.window == 0 || std::abs(distance) < case_.window);
  }
  bool sees(int query, int key) const {
    return is_near(query, key) &&
           (case_.documents == 0 || query_documents_[static_cast<std::size_t>(query)] ==
                                        key_documents_[static_cast<std::size_t>(key)]);
  }

  void check(int queries_per_block, int keys_per_block) const {
    const int query_blocks = (case_.num_queries + queries_per_block - 1) / queries_per_block;
    const int key_blocks = (case_.num_keys + keys_per_block - 1) / keys_per_block;
    const Found keys(2 * query_blocks), keys_of_documents(2 * query_blocks), queries(2 * key_blocks),
        queries_of_documents(2 * key_blocks), sights(query_blocks * key_blocks),
        seen(case_.num_queries * case_.num_keys);
    cuda::AttentionParameters<float> p;
    p.num_sequences = 1;
    p.num_queries = case_.num_queries;
    p.num_keys = case_.num_keys;
    p.num_heads = p.num_kv_heads = 1;
    p.is_causal = case_.causal;
    p.window = case_.window;
    const Operand query_documents = Operand::of(query_documents_, {std::ssize(query_documents_)});
    const Operand key_documents = Operand::of(key_documents_, {std::ssize(key_documents_)});
    if (case_.documents > 0) {
      p.query_documents = query_documents.tensor().data<std::int32_t>();
      p.key_documents = key_documents.tensor().data<std::int32_t>();
    }
    cuda::find_masks({keys.data(), keys_of_documents.data(), queries.data(), queries_of_documents.data(),
                      sights.data(), seen.data()},
                     p, queries_per_block, keys_per_block, *test_stream().cuda());

    const std::int32_t* const found = seen.values();
    for (int q = 0; q < case_.num_queries; ++q) {
      for (int k = 0; k < case_.num_keys; ++k)
        ASSERT_EQ(found[q * case_.num_keys + k] != 0, sees(q, k)) << q << ", " << k;
    }
    check_sights(sights.values(), queries_per_block, keys_per_block);
    // Of documents a block's ends count.
    const auto is_between = [&](const reference::Tokens& documents, int i, const reference::Tokens& ends,
                                int block, int per_block) {
      if (case_.documents == 0) return true;
      const std::size_t first = static_cast<std::size_t>(block * per_block);
      const std::size_t last = std::min(first + static_cast<std::size_t>(per_block), ends.size()) - 1;
      const std::int32_t document = documents[static_cast<std::size_t>(i)];
      return ends[first] <= document && document <= ends[last];
    };
    const auto near_query = [&](int, int q, int k) { return is_near(q, k); };
    const auto near_key = [&](int, int k, int q) { return is_near(q, k); };
    check_ranges(keys.values(), case_.num_queries, queries_per_block, case_.num_keys, near_query);
    check_ranges(queries.values(), case_.num_keys, keys_per_block, case_.num_queries, near_key);
    check_ranges(keys_of_documents.values(), case_.num_queries, queries_per_block, case_.num_keys,
                 [&](int block, int q, int k) {
                   return is_near(q, k) &&
                          is_between(key_documents_, k, query_documents_, block, queries_per_block);
                 });
    check_ranges(queries_of_documents.values(), case_.num_keys, keys_per_block, case_.num_queries,
                 [&](int block, int k, int q) {
                   return is_near(q, k) &&
                          is_between(query_documents_, q, key_documents_, block, keys_per_block);
                 });
  }

 private:
  void check_sights(const std::int32_t* sights, int queries_per_block, int keys_per_block) const {
    for (int first = 0; first < case_.num_queries; first += queries_per_block) {
      const int end = std::min(first + queries_per_block, case_.num_queries);
      for (int first_key = 0; first_key < case_.num_keys; first_key += keys_per_block, ++sights) {
        const int end_key = std::min(first_key + keys_per_block, case_.num_keys);
        int pairs = 0;
        for (int q = first; q < end; ++q) {
          for (int k = first_key; k < end_key; ++k) pairs += sees(q, k) ? 1 : 0;
        }
        const int all = (end - first) * (end_key - first_key);
        SCOPED_TRACE(testing::Message()
                     << pairs << " pairs of queries from " << first << ", keys from " << first_key);
        ASSERT_EQ(*sights == 2, pairs == all);
        // Of documents only a block's first and last are compared: those in between may have none in common.
        if (case_.documents == 0) {
          ASSERT_EQ(*sights == 0, pairs == 0);
        } else if (pairs > 0) {
          ASSERT_NE(*sights, 0);
        }
      }
    }
  }

  // Ranges of columns, one for each block of rows: those that are in for any row of the block.
  template <typename IsIn>
  static void check_ranges(const std::int32_t* ranges, int rows, int rows_per_block, int columns,
                           IsIn is_in) {
    for (int first = 0; first < rows; first += rows_per_block, ranges += 2) {
      for (int column = 0; column < columns; ++column) {
        bool expected = false;
        for (int row = first; row < std::min(first + rows_per_block, rows); ++row)
          expected = expected || is_in(first / rows_per_block, row, column);
        ASSERT_EQ(column >= ranges[0] && column < ranges[1], expected)
            << column << " for the block from " << first << ": [" << ranges[0] << ", " << ranges[1] << ")";
      }
      if (ranges[0] >= ranges[1]) continue;
      ASSERT_GE(ranges[0], 0);
      ASSERT_LE(ranges[1], columns);
    }
  }

  Case case_;
  reference::Tokens query_documents_, key_documents_;
};

TEST(Mask, AgreesWithItsDefinition) {
  for (const Case& c : kCases) {
    const Problem problem(c);
    for (const int queries_per_block : {1, 7, 16, 64}) {
      for (const int keys_per_block : {1, 8, 13, 64}) {
        SCOPED_TRACE(describe(c, queries_per_block, keys_per_block));
        problem.check(queries_per_block, keys_per_block);
      }
    }
  }
}

}  // namespace
}  // namespace trireme
