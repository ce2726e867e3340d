#!/usr/bin/env bash
# CoCoOp, cross-data-set transfer, second step: the context of a source on all classes of a target.
#   DATA=/path/to/data bash scripts/cocoop/xd_test.sh TARGET SEED SOURCE
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
SEEDS=$2 run one CoCoOp "$1" --folder "$OUTPUT/evaluation/CoCoOp/{config}_${SHOTS:-16}shots/$1/seed{seed}" \
    --model-dir "$OUTPUT/$3/CoCoOp/{config}_${SHOTS:-16}shots/seed{seed}" --source "$3" --verbose
