#!/usr/bin/env bash
# lines_test.sh COMMAND...: runs the program `lines` and compares what it leaves under TRIREME_VGPU_LINES with the comments of its source.
set -euo pipefail
source=$(dirname "$0")/programs/lines.cu
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
TRIREME_VGPU_LINES=$folder "$@"
lines() { sed -n "s/^$1 .*lines[.]cu:\([0-9]*\)$/\1/p" "$folder"/*.lines | sort; }
marked() { grep -n ": $1$" "$source" | cut -d: -f1 | sort; }
missing=$(comm -23 <(marked "executed") <(lines 1)
          comm -23 <(marked "not executed") <(lines 0))
[ -z "$missing" ] || { echo "wrong at lines $missing:"; cat "$folder"/*.lines; exit 1; }
[ "$(marked executed | wc -l) $(marked "not executed" | wc -l)" = "3 4" ]
