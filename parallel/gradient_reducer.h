// Sums gradients over the data axis while backward still runs.
#pragma once

#include <cstdint>
#include <deque>
#include <memory>
#include <vector>

#include "parallel/bucket_reduction.h"
#include "parallel/communicator.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// The flat gradients are cut into buckets.  When the last gradient of a bucket is ready its reduction starts,
// on the communicator's stream; what that is, the BucketReduction says.  Buckets start in the same order on
// every rank, from the end, whatever the order of the marks.
//
// Where several ranks of a model each have a part of a gradient's sum (Replica::is_partial), those come
// first: some parameters' at a time, with one message for each group.  Those of stages, which get there at
// different times, wait for finish(), and their bucket and all behind it with them.
//
//     reducer.clear(stream);
//     reducer.begin(is_last_microbatch);
//     model.backward(..., reducer);        // calls expect(range), layers mark_ready(parameter)
//     reducer.finish(stream);              // after the last microbatch: sums() are the sum over the axis
class GradientReducer {
 public:
  // `parameters` and the communicators outlive the reducer.
  GradientReducer(const ParameterBuffer& parameters, Communicator& communicator,
                  std::unique_ptr<BucketReduction> reduction);
  // By all_reduce as float32, in buckets of about so many bytes.
  GradientReducer(const ParameterBuffer& parameters, Communicator& communicator, std::int64_t bucket_bytes);

  // Before a step: makes gradients zero.
  void clear(Stream stream) { reduction_->clear(stream); }
  // Before each backward pass.  Marks count in the last microbatch of a step; in all of them, where gradients
  // are given away after each.
  void begin(bool is_last_microbatch);
  // Before the work of a backward pass that adds to gradients of the range: where they are given away after
  // each microbatch, they have memory from here on.
  void expect(const FlatRange& range, Stream stream) { reduction_->expect(range, stream); }
  // While there is more to come, gradients that are marked get more in the same step: such marks don't count.
  // Weights that are used in a loop do, and a pipeline, whose chunks have their last microbatches at times of
  // their own: it says so before each backward, and calls begin(true) once, before the step's first.
  void expect_more(bool more_to_come) { more_to_come_ = more_to_come; }
  // This rank's gradient of the parameter is complete and won't be touched before finish().
  void mark_ready(const Parameter& parameter, Stream stream);
  // After this rank's last microbatch: others have so many more.  Where gradients are given away after each,
  // it takes part in their sums with nothing to add.
  void sit_out(std::int64_t microbatches, Stream stream);
  // Waits for all buckets.  CHECKs that every parameter was marked.
  void finish(Stream stream);

  // After finish(): flat like the gradients; the elements that this rank has the sums of.
  Tensor sums() const { return reduction_->sums(); }
  std::vector<FlatRange> owned() const { return reduction_->owned(); }
  // Memory that the sums take beside the gradients.
  std::int64_t resident_bytes() const { return reduction_->resident_bytes(); }
  int num_buckets() const { return static_cast<int>(buckets_.size()); }

 private:
  struct Bucket {
    int num_parameters = 0;
    int num_waiting = 0;
  };
  struct BucketSpan {  // of a parameter
    std::size_t begin = 0;
    std::size_t end = 0;
  };

  struct UnderWay {
    std::size_t bucket = 0;
    Communicator::Ticket ticket = 0;
  };

  // Takes those of `held` that are partial to their sums, and counts them as complete.
  void sum_partial(std::vector<const Parameter*>& held, Stream stream);
  void complete(const Parameter& parameter, Stream stream);
  void start_full_buckets(Stream stream);
  void complete_until(std::size_t num_under_way, Stream stream);
  void check_all_marked() const;

  const ParameterBuffer& parameters_;
  Communicator& communicator_;
  const std::unique_ptr<BucketReduction> reduction_;
  std::vector<Bucket> buckets_;
  std::vector<BucketSpan> buckets_of_parameter_;
  std::vector<bool> ready_;
  std::vector<const Parameter*> held_;             // marked, with partial sums, which come next
  std::vector<const Parameter*> held_for_stages_;  // in finish()
  Stream stream_;                                  // of the last mark
  std::size_t num_left_ = 0;                       // buckets that haven't started, the first ones
  std::deque<UnderWay> under_way_;
  bool counting_ = false;
  bool is_last_microbatch_ = false;
  bool more_to_come_ = false;
};

}  // namespace trireme
