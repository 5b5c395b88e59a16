#!/usr/bin/env bash
# From nothing to a trained language model: installs, builds, prepares the King James Bible (which Debian carries),
# trains under mpirun with two ranks, is interrupted, resumes, and shows the result.  Some minutes on two cores.
#
#     launch/quickstart.sh [FOLDER [key=value ...]]
#
# FOLDER is where data and run go (default: runs/quickstart); keys are those of configs/quickstart.toml.  Started again it
# goes on with what is there.
set -euo pipefail
cd "$(dirname "$0")/.."

folder=${1:-runs/quickstart}
shift || true
data=$folder/data
run=$folder/run
say() { printf '\n\033[1m== %s\033[0m\n' "$*"; }

say "Building"
TRIREME_EXTRA_PACKAGES="bible-kjv bible-kjv-text" launch/build.sh release trireme
trireme=build/bin/trireme

say "Preparing the text: one document per chapter"
if [ -e "$data/manifest.json" ]; then
  echo "$data is there already"
else
  mkdir -p "$folder"
  # bible prints a verse a line, "Ge1:1 In the beginning …"; chapters are parted by a line of "%".
  bible -f Gen1:1-Rev22:21 </dev/null |
    awk '{ split($1, place, ":"); if (place[1] != chapter) { if (chapter != "") print "%"; chapter = place[1] }
           sub(/^[^ ]+ /, ""); print }' >"$folder/bible.txt"
  "$trireme" prepare "$folder/bible.txt" --separator % --tokenizer bpe --vocab-size 2048 --output "$data"
fi

train=(launch/mpirun.sh 2 configs/quickstart.toml "data.path=$data" "run.directory=$run" "$@")

if [ ! -d "$run" ]; then
  say "Training with two ranks, to be interrupted"
  "${train[@]}" &
  training=$!
  while kill -0 "$training" 2>/dev/null; do
    sleep 0.2
    if [ -e "$run/metrics.jsonl" ] && [ "$(wc -l <"$run/metrics.jsonl")" -ge 15 ]; then break; fi
  done
  # The wrapper passes the signal on; every rank saves at its next step and leaves with 85, "run me again".
  kill -USR1 "$training" 2>/dev/null || true
  status=0
  wait "$training" || status=$?
  # 138: it came when a short training was over, and ended mpirun on its way out.
  [ "$status" -eq 0 ] || [ "$status" -eq 85 ] || [ "$status" -eq 138 ] || exit "$status"
fi

say "Training goes on from where it stopped"
"${train[@]}"

say "A sample of what it learned"
"$trireme" generate "$run" --prompt "And it came to pass" --tokens 80 --temperature 0.8 --top-k 40 --seed 1

say "Validation loss, in nats per token, beside that of guessing by frequency alone"
"$trireme" evaluate "$run"

say "The run as a page"
"$trireme" report "$run"
