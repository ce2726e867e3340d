#!/usr/bin/env bash
# Few-shot curves: 1, 2, 4, 8 and 16 shots of the base classes, tested among its own classes and among all.
#
#   bash scripts/ship/few_shot.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: ALL_SHOTS (default "1 2 4 8 16"), METHODS, and what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
SHOTS=${ALL_SHOTS:-1 2 4 8 16}
on_dataset few_shot "$@"
