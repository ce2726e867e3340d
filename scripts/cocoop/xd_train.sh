#!/usr/bin/env bash
# CoCoOp, cross-data-set transfer, first step: train on all classes of a source.
#   DATA=/path/to/data bash scripts/cocoop/xd_train.sh SOURCE SEED
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
cfg=$(config_of CoCoOp "$1")
one_run CoCoOp "$1" "$2" "$OUTPUT/$1/CoCoOp/${cfg}_${SHOTS}shots/seed$2" all
