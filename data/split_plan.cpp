#include "data/split_plan.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include <glog/logging.h>

#include "data/random.h"

namespace trireme {

bool SplitPlan::draws(std::int64_t document) const {
  return uniform_at(seed_, static_cast<std::uint64_t>(document)) < fraction_;
}

std::int64_t SplitPlan::validation_begin(std::int64_t document) const {
  if (!cuts_documents_) return draws(document) ? 0 : kNever;
  if (document >= static_cast<std::int64_t>(sizes_.size())) return kNever;  // not one of those planned for
  const std::int64_t size = sizes_[static_cast<std::size_t>(document)];
  const auto tail = static_cast<std::int64_t>(std::floor(static_cast<double>(size) * fraction_));
  return tail == 0 ? kNever : size - tail;
}

SplitPlanner::SplitPlanner(double fraction, std::uint64_t seed) {
  CHECK(fraction >= 0.0 && fraction <= 0.5);
  plan_.fraction_ = fraction;
  plan_.seed_ = seed;
}

void SplitPlanner::add_document(std::int64_t size_bytes) {
  bytes_ += static_cast<double>(size_bytes);
  if (plan_.draws(num_documents_)) drawn_bytes_ += static_cast<double>(size_bytes);
  ++num_documents_;
  if (num_documents_ <= kMaxCutDocuments) plan_.sizes_.push_back(size_bytes);
}

SplitPlan SplitPlanner::finish() {
  const double wanted = bytes_ * plan_.fraction_;
  const bool fair = drawn_bytes_ >= wanted / 2 && drawn_bytes_ <= std::min(wanted * 2, (wanted + bytes_) / 2);
  plan_.cuts_documents_ = !fair && num_documents_ <= kMaxCutDocuments;
  if (!plan_.cuts_documents_) plan_.sizes_ = {};
  return std::move(plan_);
}

}  // namespace trireme
