#!/usr/bin/env bash
# CoCoOp, cross-data-set transfer, first step: train on all classes of a source.
#   DATA=/path/to/data bash scripts/cocoop/xd_train.sh SOURCE SEED
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
SEEDS=$2 run one CoCoOp "$1" --folder "$OUTPUT/$1/CoCoOp/{config}_${SHOTS:-16}shots/seed{seed}" --verbose
