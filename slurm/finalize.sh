#!/bin/bash
#SBATCH --job-name=captionqa-finalize
#SBATCH --comment=captionqa-finalize
#SBATCH --cpus-per-task=1
#SBATCH --mem=4G
#SBATCH --time=01:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --requeue
#
# The last job of a run: merges the parts into the result files.
# Its exit code is the run's: 0 complete, 3 something has no answer.
#
#     sbatch --dependency=afterany:JOB slurm/finalize.sh captions/Qwen3-VL-4B-Instruct
#
# What stands behind the script's name goes to `captionqa export`.
#
# Every #SBATCH line can be overridden on the command line: sbatch --partition=gpu --time=2-00:00:00 THIS_SCRIPT …
# (SBATCH_* variables of your environment override them too.)
#
# --output: written in the folder where you call sbatch. If you name a folder, make it first: with one that does not
#   exist SLURM fails the job without a word.
# --open-mode=append: a requeued job must not truncate its own log.
# --requeue: after a node failure or a preemption SLURM starts the job again; it goes on where it stopped.

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

exec captionqa export "$@"
