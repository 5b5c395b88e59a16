#!/usr/bin/env bash
# Trains with several ranks by mpirun, or checks what layouts of them train.
#
#     launch/mpirun.sh RANKS CONFIG [key=value ...]
#     launch/mpirun.sh RANKS check CONFIG [key=value ...] --layouts "pp=2,dp=2" ...
#
# Ctrl-C, SIGTERM and SIGUSR1 make every rank save at its next step and leave; a second Ctrl-C ends them at once.
# Exit code: that of the ranks (0 done, 1 a layout that differs, 2 a mistake of yours, 85 saved and to be started
# again); 0 after Ctrl-C.
#
# TRIREME         the program (default: build/bin/trireme beside this folder)
# MPIRUN_OPTIONS  further options of mpirun, for example "--hostfile hosts"
set -euo pipefail

usage() {
  echo "usage: launch/mpirun.sh RANKS [check] CONFIG [key=value ...]" >&2
  exit 2
}
(($# >= 2)) || usage
ranks=$1
shift
[[ $ranks =~ ^[1-9][0-9]*$ ]] || usage
command=train
if [ "$1" = check ]; then
  command=check
  shift
fi

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
trireme=${TRIREME:-$root/build/bin/trireme}
if [ ! -x "$trireme" ]; then
  echo "mpirun.sh: $trireme: no such program; build it with launch/build.sh, or set TRIREME" >&2
  exit 2
fi

options=(
  -np "$ranks"
  --bind-to none                           # ranks run threads of their own
  --mca odls_base_sigkill_timeout 0        # a dead rank ends the job at once, not after four seconds
  --mca oob_tcp_keepalive_time 5           # a silent node is noticed in seconds, not in eight minutes
  --mca oob_tcp_keepalive_intvl 2
  --mca oob_tcp_keepalive_probes 3
)
# Alone, more ranks than cores are the user's choice; in an allocation, a mistake.
[ -n "${SLURM_JOB_ID:-}" ] || options+=(--oversubscribe)
read -r -a more <<<"${MPIRUN_OPTIONS:-}"
options+=("${more[@]}")

if [ "$(id -u)" -eq 0 ]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi
# Ranks write to a pseudo-terminal of mpirun's, and cannot see whether a real one is behind it.
TRIREME_TERMINAL=0
if [ -t 1 ]; then
  { read -r _ TRIREME_TERMINAL <<<"$(stty size <&3)"; } 3<&1
fi
export TRIREME_TERMINAL

# mpirun's farewells to ranks that left with a code of their own, which have said why: three paragraphs between
# ruled lines, on standard error.  Anything else passes, above all which rank died of what on which node.
without_farewells() {
  trap '' INT TERM HUP USR1 # ends when mpirun does
  local rule line block='' inside=false
  printf -v rule '%074d' 0
  rule=${rule//0/-}
  while IFS= read -r line || [ -n "$line" ]; do
    if $inside; then
      block+=$'\n'$line
      [ "$line" = "$rule" ] || continue
      inside=false
      [[ $block =~ "Primary job  terminated normally"|"MPI_ABORT was invoked"|Exit\ code:\ +(1|2|85)$'\n' ]] ||
        printf '%s\n' "$block"
    elif [ "$line" = "$rule" ]; then
      inside=true
      block=$line
    elif [[ $line != "mpirun: Forwarding signal"* ]]; then
      printf '%s\n' "$line"
    fi
  done
  if $inside; then printf '%s\n' "$block"; fi
}
exec {errors}> >(without_farewells >&2)
filter=$!

# mpirun itself would answer Ctrl-C and SIGTERM by killing the ranks, so it runs in a session of its own and gets
# SIGUSR1, which it passes on.
setsid mpirun "${options[@]}" -x TRIREME_TERMINAL "$trireme" "$command" "$@" </dev/null 2>&"$errors" &
job=$!
exec {errors}>&-
interrupts=0
# shellcheck disable=SC2317 # called by traps
save_and_leave() { kill -USR1 "$job" 2>/dev/null || true; }
# shellcheck disable=SC2317
interrupt() {
  interrupts=$((interrupts + 1))
  if ((interrupts == 1)); then
    echo "mpirun.sh: saving; Ctrl-C again ends at once" >&2
    save_and_leave
  else
    kill -TERM "$job" 2>/dev/null || true
  fi
}
trap save_and_leave USR1 TERM HUP
trap interrupt INT

# A signal interrupts `wait`, whose result is then not the job's.
while kill -0 "$job" 2>/dev/null; do
  wait "$job" || true
done
status=0
wait "$job" || status=$?
wait "$filter" || true
if ((interrupts > 0 && status == 85)); then
  status=0
elif ((status > 128)); then
  # mpirun itself is silent of a rank that dies while others are still being started.
  echo "mpirun.sh: a rank was ended by SIG$(kill -l $((status - 128))); the newest checkpoint is where to resume" >&2
fi
exit "$status"
