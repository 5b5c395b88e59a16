// Sums and maxima over the ranks of an MPI group.  Internal to parallel/.
#pragma once

#include <cstddef>
#include <memory>
#include <vector>

#include "kernels/tensor.h"
#include "parallel/communicator.h"
#include "parallel/mpi_group.h"

namespace trireme {

// Where pieces lie between their arrival and their sum; operations that run alone share one.
using MpiScratch = std::vector<std::byte>;

// Ours, not MPI's: the tensor is cut into pieces, each piece into one slice per rank; a rank receives its
// slice from all others, reduces, and, in an all_reduce, sends the result to all, with two pieces on their
// way at a time.  That moves as little as a ring does, in two hops instead of 2(n-1), sums in rank order
// wherever an element lies, and is quicker between the processes of one node than MPI_Allreduce.
std::unique_ptr<Operation> mpi_all_reduce(MpiGroup& group, const Tensor& x, ReduceOp op, MpiScratch& scratch);
std::unique_ptr<Operation> mpi_all_reduce(MpiGroup& group, std::vector<Tensor> xs, ReduceOp op,
                                          MpiScratch& scratch);
std::unique_ptr<Operation> mpi_reduce_scatter(MpiGroup& group, const Tensor& out, const Tensor& x,
                                              ReduceOp op, MpiScratch& scratch);

}  // namespace trireme
