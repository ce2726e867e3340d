#!/usr/bin/env bash
# SHIP, base to new, second step: test on the new classes (or SUB=base, SUB=all).
#   DATA=/path/to/data bash scripts/ship/base2new_test.sh DATASET SEED
# LOADEP chooses the epoch; by default the last one that was saved.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
METHODS=${METHOD:-SHIP} SEEDS=${2:?which seed} run base2new "${1:?which data set, as in configs/datasets/}" \
    --parts "${SUB:-new}" --load-epoch "${LOADEP:-0}" --verbose
