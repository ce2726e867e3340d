#!/usr/bin/env bash
# SHIP's ablations, one change at a time: generators, start of the context, KL weight, number of context vectors, hidden
# sizes, share of synthetic features, and what goes beyond the paper; then the same around the config that validation
# chose ("tuned"). Tested among its own classes and among all. The rows: shipclip/experiments/rows.py.
#
#   bash scripts/ship/ablation.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: ROWS (their names; default all), SUBSET (default gzsl; dev: within the base classes, to choose
# settings without a look at the test images; in a folder of its own), and what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
on_dataset ablation "$@"
