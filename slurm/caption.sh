#!/bin/bash
#SBATCH --job-name=captionqa-caption
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=08:00:00
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --output=captionqa-caption-%j.out
# Caption a folder of images from a CPU node. Options may be overridden on the sbatch line, and everything after the
# script's name goes to captionqa:
#
#     export CAPTIONQA_SERVER_URL=http://gpu-node:8000
#     sbatch slurm/caption.sh --dataset-path images --prompt-style LONG
#
# --open-mode=append: a requeued job must not truncate its own log.
# --signal=B:USR1@120: SLURM warns this shell (not its children) 120 s before the time limit; the shell passes it on.
# Exit code 75 means «stopped on purpose, resumable»: the job puts itself back into the queue and goes on.
set -u

captionqa caption "$@" &
client=$!
trap 'kill -USR1 "$client"' USR1
trap 'kill -TERM "$client"' TERM

# wait returns early when a trapped signal arrives: ask until the client is gone, then for its own exit code.
wait "$client"
while kill -0 "$client" 2>/dev/null; do
    wait "$client"
done
wait "$client"
code=$?

if [ "$code" -eq 75 ] && [ -n "${SLURM_JOB_ID:-}" ] && [ "${SLURM_RESTART_COUNT:-0}" -lt 20 ]; then
    echo "stopped before the end: back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
