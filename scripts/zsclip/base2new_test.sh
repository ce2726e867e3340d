#!/usr/bin/env bash
# Zero-shot CLIP on the new classes (or SUB=base, SUB=all); there is nothing to train.
#   DATA=/path/to/data bash scripts/zsclip/base2new_test.sh DATASET SEED
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
METHODS=ZeroshotCLIP SEEDS=${2:-1} run base2new "${1:?which data set, as in configs/datasets/}" --parts "${SUB:-new}" --verbose
