#!/usr/bin/env bash
# CoCoOp, base to new, first step: train on the base classes.
#   DATA=/path/to/data bash scripts/cocoop/base2new_train.sh DATASET SEED
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
METHODS=${METHOD:-CoCoOp} SEEDS=${2:?which seed} run base2new "${1:?which data set, as in configs/datasets/}" --parts train --verbose
