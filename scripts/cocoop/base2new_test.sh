#!/usr/bin/env bash
# CoCoOp, base to new, second step: test on the new classes (or SUB=base, SUB=all).
#   DATA=/path/to/data bash scripts/cocoop/base2new_test.sh DATASET SEED
# LOADEP chooses the epoch; by default the last one that was saved.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
test_run "${METHOD:-CoCoOp}" "${1:?which data set, as in configs/datasets/}" "${2:?which seed}" "${SUB:-new}"
