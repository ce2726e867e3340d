#!/usr/bin/env bash
# Base to new: train on the base classes, test on the new ones and on all together, for every method and seed;
# then the table. Finished runs are skipped, interrupted ones go on, a failed one does not stop the others.
#
#   bash scripts/ship/base2new.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/base2new.sh caltech101
#   DATA=/path/to/data bash scripts/ship/base2new.sh all        the eleven data sets, with their average
#
# From the environment: METHODS (default "ZeroshotCLIP CoOp CoCoOp SHIP"; on the embedded data sets also SHIP with plain text
# features for synthetic ones, the floor; SHIP as validation likes it; and CoOp-all, which is CoOp on real shots of all
# classes: the upper bound), and what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
on_dataset base2new "$@"
