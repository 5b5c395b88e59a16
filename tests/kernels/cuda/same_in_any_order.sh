#!/bin/sh
# same_in_any_order.sh COMMAND...: passes if the command prints the same line "bits ..." in whatever order the virtual
# GPU runs blocks and warps.
expected=
for seed in '' 1 2; do
  bits=$(TRIREME_VGPU_SHUFFLE=$seed "$@" | grep '^bits ') || { echo "no line of bits with seed '$seed'"; exit 1; }
  echo "seed '$seed': $bits"
  [ "${expected:=$bits}" = "$bits" ] || exit 1
done
