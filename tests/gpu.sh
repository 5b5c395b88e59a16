#!/usr/bin/env bash
# For a machine with an NVIDIA GPU and an nvcc: installs, builds, and runs there what elsewhere the virtual GPU runs.
#
#     tests/gpu.sh            every test of the CUDA device; ends with "N passed, N failed, N skipped"
#     tests/gpu.sh table      what this GPU reaches, as one table
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

if ! nvidia-smi -L; then
  echo "gpu.sh: nvidia-smi finds no GPU here; tests/run.sh runs the tests on the virtual one" >&2
  exit 2
fi
case ${1:-tests} in
  tests) exec tests/run.sh gpu ;;
  table) launch/build.sh gpu gpu_benchmark && exec build-gpu/benchmarks/gpu_benchmark ;;
  *)
    echo "gpu.sh: '$1' is neither 'tests' nor 'table'" >&2
    exit 2
    ;;
esac
