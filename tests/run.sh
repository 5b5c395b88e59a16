#!/usr/bin/env bash
# Installs, builds and runs every test that this machine can run.  Ends with "N passed, N failed, N skipped".
#
#     tests/run.sh            all: the release build, then the unit tests under sanitizers
#     tests/run.sh release    one or more presets of CMakePresets.json (gpu: see tests/gpu.sh)
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1

presets=("$@")
((${#presets[@]} > 0)) || presets=(release asan tsan)
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1

passed=0 failed=0 skipped=0
for preset in "${presets[@]}"; do
  echo "== $preset"
  if ! TRIREME_EXTRA_PACKAGES="python3 python3-h5py binutils bible-kjv" launch/build.sh "$preset"; then
    echo "the $preset build failed"
    failed=$((failed + 1))
    continue
  fi
  folder=build
  [ "$preset" = release ] || folder=build-$preset
  report=$folder/test_results.xml
  rm -f "$report"
  only=() at_once=$(nproc)
  case $preset in
    release) ;;
    # One after the other: they share its memory.
    gpu) only=(--tests-regex '^cuda[.]|^launch_test[.]CudaProgram') at_once=1 ;;
    # Whole runs are slow under a sanitizer and say nothing more there than the unit tests do.
    *) only=(--exclude-regex '^launch_test') ;;
  esac
  ctest --test-dir "$folder" --parallel "$at_once" --output-on-failure --output-junit "$PWD/$report" "${only[@]}" |
    grep -vE '^ +Start |[.]{3} +Passed '
  if [ ! -s "$report" ]; then
    echo "ctest left no results for $preset"
    failed=$((failed + 1))
    continue
  fi
  count() { grep -m1 -A8 '<testsuite' "$report" | grep -oP "\b$1=\"\K[0-9]+" | head -1; }
  all=$(count tests) bad=$(count failures) not_run=$(($(count skipped) + $(count disabled)))
  passed=$((passed + all - bad - not_run)) failed=$((failed + bad)) skipped=$((skipped + not_run))
  # Each skip with the reason that the test gave, on the line behind "FILE:LINE: Skipped".
  awk -F'"' '/<testcase /{name = $2} reason {print "skipped " name ": " $0; reason = 0} /: Skipped$/{reason = 1}' "$report"
done

echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ] && [ "$passed" -gt 0 ]
