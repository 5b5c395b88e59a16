// Sums gradients over the data axis while backward still runs.
#pragma once

#include <cstdint>
#include <vector>

#include "parallel/communicator.h"
#include "parallel/parameter_buffer.h"

namespace trireme {

// Where several ranks of a model each have a part of a gradient's sum (Replica::is_partial), those come
// first: a bucket's parts are summed over their groups, with one message for all, then the bucket over the
// data axis.
//
// Cuts the flat gradient buffer into buckets of about `bucket_bytes`, whole parameters each, from its end.
// When the last gradient of a bucket is ready its all-reduce starts, on the communicator's stream, in place:
// nothing is copied.  Buckets start in the same order on every rank, whatever the order of the marks.
//
//     reducer.begin(is_last_microbatch);
//     model.backward(..., reducer);        // layers call mark_ready(parameter)
//     reducer.finish(stream);              // after the last microbatch: gradients are the sum over the axis
class GradientReducer {
 public:
  // Both outlive the reducer.
  // Ranks of a model that share its layers sum partial gradients bucket by bucket, so they must cut alike,
  // though their shares differ in size: parameters count with a `ranks_per_layer`-th of the whole.
  GradientReducer(const ParameterBuffer& parameters, Communicator& communicator, std::int64_t bucket_bytes,
                  int ranks_per_layer = 1);

  // Before each backward pass.  Only in the last microbatch of a step do marks count.
  void begin(bool is_last_microbatch);
  // While there is more to come, gradients that are marked get more in the same step: such marks don't count.
  // Weights that are used in a loop do, and a pipeline, whose chunks have their last microbatches at times of
  // their own: it says so before each backward, and calls begin(true) once, before the step's first.
  void expect_more(bool more_to_come) { more_to_come_ = more_to_come; }
  // This rank's gradient of the parameter is complete and won't be touched before finish().
  void mark_ready(const Parameter& parameter, Stream stream);
  // Waits for all buckets.  CHECKs that every parameter was marked.
  void finish(Stream stream);

  int num_buckets() const { return static_cast<int>(buckets_.size()); }

 private:
  struct PartialSums {
    Communicator* group = nullptr;
    std::vector<Tensor> gradients;
  };
  struct Bucket {
    Tensor gradients;
    std::vector<PartialSums> partial;  // in the order in which groups come up: the same on all their ranks
    bool spans_stages = false;         // some of them: then the bucket waits for finish()
    int num_parameters = 0;
    int num_waiting = 0;
  };

  void start_full_buckets(Stream stream);
  void start(const Bucket& bucket, Stream stream);
  void add_partial(Bucket& bucket, const Parameter& parameter) const;
  static void sum_partial(const Bucket& bucket, Stream stream);

  const ParameterBuffer& parameters_;
  Communicator& communicator_;
  std::vector<Bucket> buckets_;
  std::vector<int> bucket_of_parameter_;
  std::vector<bool> ready_;
  std::size_t next_bucket_ = 0;
  bool counting_ = false;
  bool more_to_come_ = false;
  Communicator::Ticket last_ticket_ = 0;
};

}  // namespace trireme
