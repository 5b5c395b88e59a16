#!/bin/sh
# mpirun.sh RANKS PROGRAM [ARGUMENT...]: a program on some ranks of this machine, more than it has cores if need
# be.  Shared memory only, no socket beyond the loopback; a dead rank takes the others along at once.
ranks=$1
shift
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
# Open MPI leaks at its end, from modules it has unloaded, which no suppression can name.  Our leaks are found where
# the same tests run on one rank.
export ASAN_OPTIONS="detect_leaks=0:$ASAN_OPTIONS"
export TSAN_OPTIONS="suppressions=$(dirname "$0")/tsan_suppressions.txt:$TSAN_OPTIONS"
exec mpirun -np "$ranks" --oversubscribe --bind-to none --mca btl self,vader --mca oob_tcp_if_include lo \
  --mca odls_base_sigkill_timeout 0 --mca orte_tmpdir_base "${TMPDIR:-/tmp}" "$@"
