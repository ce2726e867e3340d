#!/usr/bin/env bash
# Every learner alone and with SHIP's features: trained on base classes, tested among its own classes and among all.
#
#   bash scripts/ship/learners.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: SUBSET (default gzsl; dev: within the base classes, to choose settings without a look at the test
# images; in a folder of its own), METHODS (a trainer or SHIP+<learner>, perhaps with its config: CoOp:vit_b16_ep50), and
# what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
on_dataset learners "$@"
