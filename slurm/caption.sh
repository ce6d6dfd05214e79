#!/bin/bash
#SBATCH --job-name=captionqa-caption
#SBATCH --comment=captionqa-caption
#SBATCH --cpus-per-task=4
#SBATCH --mem=8G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#
# Caption a folder of images, from a CPU node, with the servers that were started in the same folder.
#
#     sbatch slurm/caption.sh --dataset-path images --prompt-style LONG
#     sbatch --array=0-7 slurm/caption.sh --dataset-path images    # 8 jobs, each a part; then: captionqa export RUN
#
# What stands behind the script's name goes to `captionqa caption`; all of it: captionqa caption --help.
#
# Every #SBATCH line can be overridden on the command line: sbatch --partition=gpu --time=2-00:00:00 THIS_SCRIPT …
# (SBATCH_* variables of your environment override them too.)
#
# --output: written in the folder where you call sbatch. If you name a folder, make it first: with one that does not
#   exist SLURM fails the job without a word.
# --open-mode=append: a requeued job must not truncate its own log.
# --requeue: after a node failure or a preemption SLURM starts the job again; it goes on where it stopped.
# --signal=B:USR1@120: 120 s before the time limit (up to a minute earlier) SLURM signals the process that started
#   as this script. That is captionqa itself, because of the «exec» below: it saves and puts its own job back into the
#   queue (not after scancel). So there is no trap and no wait here; keep «exec» on the last line.

# ── Your environment: module load …, source …/bin/activate. Add lines here (or: --setup) ──
# (conda activate needs this line before it, since jobs don't read ~/.bashrc: eval "$(conda shell.bash hook)")
# ── ──

# After the lines above: module, conda and activate scripts break under «set -u».
set -euo pipefail
if ! command -v captionqa >/dev/null; then
    echo "captionqa is not on the PATH of node ${SLURMD_NODENAME:-?}. Activate its environment before you call sbatch," >&2
    echo "or at the marked place in the script (captionqa slurm render/submit: --setup 'source …/bin/activate')." >&2
    exit 127
fi

exec captionqa caption --requeue-limit 50 "$@"
