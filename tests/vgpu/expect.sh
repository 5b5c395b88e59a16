#!/bin/sh
# expect.sh EXIT_CODE PATTERN COMMAND...: runs the command; passes if it exits so and its output holds the pattern.
code=$1
pattern=$2
shift 2
output=$("$@" 2>&1)
actual=$?
printf '%s\n' "$output"
if [ "$actual" -ne "$code" ]; then
  echo "exit code $actual, expected $code"
  exit 1
fi
printf '%s\n' "$output" | grep -q -e "$pattern" || { echo "the output does not hold '$pattern'"; exit 1; }
