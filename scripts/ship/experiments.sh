#!/usr/bin/env bash
# Every experiment: learners, generalized zero-shot learning, few-shot curves, ablations, transfer; then the pictures and a
# page with all tables.
#
#   bash scripts/ship/experiments.sh [SEEDS...]                 the embedded data sets, seeds 1 2 3
#
# From the environment: ROWS (of the ablation; default: the paper's, and the tuned config with one piece taken out), and what
# _run.sh reads. Finished runs are skipped, interrupted ones go on.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
if [ $# -gt 0 ]; then SEEDS=$*; fi
run experiments
