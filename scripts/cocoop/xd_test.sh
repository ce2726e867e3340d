#!/usr/bin/env bash
# CoCoOp, cross-data-set transfer, second step: the context of a source on all classes of a target.
#   DATA=/path/to/data bash scripts/cocoop/xd_test.sh TARGET SEED SOURCE
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
cfg=$(config_of CoCoOp "$1")
trained="$OUTPUT/$3/CoCoOp/$(config_of CoCoOp "$3")_${SHOTS}shots/seed$2"
one_run CoCoOp "$1" "$2" "$OUTPUT/evaluation/CoCoOp/${cfg}_${SHOTS}shots/$1/seed$2" all \
    --eval-only --model-dir "$trained" --load-epoch "$(last_epoch "$trained")"
