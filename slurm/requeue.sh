# For job scripts: after `source slurm/requeue.sh`, `until_limit COMMAND …` runs a command as the last of the job. When
# Slurm signals that the time limit is near (`#SBATCH --signal=B:USR1@90`), the job is queued again.
trap 'echo "time is over: queued again"; scontrol requeue "$SLURM_JOB_ID"' USR1

until_limit() {
    "$@" &
    wait $! && exit
    code=$?
    [ "$code" -gt 128 ] && sleep 60  # requeued: Slurm ends this attempt
    exit "$code"
}
