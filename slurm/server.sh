#!/bin/bash
#SBATCH --job-name=captionqa-server
#SBATCH --comment=captionqa-server
#SBATCH --gres=gpu:1
#SBATCH --cpus-per-task=8
#SBATCH --mem=64G
#SBATCH --time=08:00:00
#SBATCH --output=%x-%j.out
#SBATCH --open-mode=append
#SBATCH --signal=B:USR1@120
#SBATCH --requeue
#
# A vLLM server on a GPU node. Clients find it by the file it writes to output/servers/: no URL is typed.
#
#     sbatch slurm/server.sh                                          # Qwen/Qwen3-VL-4B-Instruct on one GPU
#     sbatch --gres=gpu:4 slurm/server.sh Qwen/Qwen3-VL-32B-Instruct --tensor-parallel-size 4
#
# What stands behind the script's name goes to `captionqa serve`; all of it: captionqa serve --help.
# The clients are started in the same folder (or with the same --output-dir). To stop it: captionqa servers stop.
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

exec captionqa serve --requeue-limit 50 "$@"
