// Which text is for training and which for validation.
#pragma once

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

namespace trireme {

// Whole documents are drawn, by (seed, index of the document), as long as that gives the validation split
// about its share of the bytes: between half and twice.  A corpus of a few documents, or of one that
// outweighs the rest, can't be parted so: there, the last bytes of every document are for validation.
class SplitPlan {
 public:
  static constexpr std::int64_t kNever = std::numeric_limits<std::int64_t>::max();

  // Where in the document validation begins: 0 if all of it is for validation, kNever if nothing is.
  std::int64_t validation_begin(std::int64_t document) const;
  bool cuts_documents() const { return cuts_documents_; }

 private:
  friend class SplitPlanner;
  bool draws(std::int64_t document) const;

  double fraction_ = 0.0;
  std::uint64_t seed_ = 0;
  bool cuts_documents_ = false;
  std::vector<std::int64_t> sizes_;  // of the documents, when they are cut
};

// Makes the plan from the sizes of all documents, in order.
class SplitPlanner {
 public:
  // REQUIRES: 0 <= fraction <= 0.5.
  SplitPlanner(double fraction, std::uint64_t seed);
  void add_document(std::int64_t size_bytes);
  SplitPlan finish();

 private:
  // A corpus of more documents is never cut: to remember their sizes would cost memory without bound.
  static constexpr std::int64_t kMaxCutDocuments = 1 << 20;

  SplitPlan plan_;
  std::int64_t num_documents_ = 0;
  double bytes_ = 0.0;
  double drawn_bytes_ = 0.0;
};

}  // namespace trireme
