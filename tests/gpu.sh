#!/usr/bin/env bash
# For a machine with an NVIDIA GPU and an nvcc: installs, builds, and runs there what elsewhere the virtual GPU runs.
#
#     tests/gpu.sh            every test of the CUDA device; ends with "N passed, N failed, N skipped"
#     tests/gpu.sh table      what this GPU reaches, and what several move between them, as a table
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if ! nvidia-smi -L; then
  echo "gpu.sh: nvidia-smi finds no GPU here; tests/run.sh runs the tests on the virtual one" >&2
  exit 2
fi
case ${1:-tests} in
  tests) exec tests/run.sh gpu ;;
  table)
    gpus=$(nvidia-smi -L | grep -c '^GPU ')
    targets=(gpu_benchmark)
    ((gpus == 1)) || targets+=(nccl_benchmark)
    launch/build.sh gpu "${targets[@]}" && build-gpu/benchmarks/gpu_benchmark || exit 1
    ((gpus == 1)) || { echo && exec tests/support/mpirun.sh "$gpus" "$PWD/build-gpu/benchmarks/nccl_benchmark"; }
    ;;
  *)
    echo "gpu.sh: '$1' is neither 'tests' nor 'table'" >&2
    exit 2
    ;;
esac
