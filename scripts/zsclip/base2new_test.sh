#!/usr/bin/env bash
# Zero-shot CLIP on the new classes (or SUB=base, SUB=all); there is nothing to train.
#   DATA=/path/to/data bash scripts/zsclip/base2new_test.sh DATASET SEED
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
test_run ZeroshotCLIP "${1:?which data set, as in configs/datasets/}" "${2:-1}" "${SUB:-new}"
