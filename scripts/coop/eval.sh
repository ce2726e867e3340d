#!/usr/bin/env bash
# CoOp's context of a source data set (main.sh) on all classes of a target, seeds 1 to 3.
#   DATA=/path/to/data bash scripts/coop/eval.sh TARGET CFG POSITION N_CTX SHOTS CSC [SOURCE]
# SOURCE: the data set it was trained on (default imagenet).
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
OPTS="TRAINER.COOP.N_CTX $4 TRAINER.COOP.CSC $6 TRAINER.COOP.CLASS_TOKEN_POSITION $3 ${OPTS:-}"
CFG=$2 SHOTS=-1 run one CoOp "$1" --folder "$OUTPUT/evaluation/CoOp/$2_$5shots/nctx$4_csc$6_ctp$3/$1/seed{seed}" \
    --model-dir "$OUTPUT/${7:-imagenet}/CoOp/$2_$5shots/nctx$4_csc$6_ctp$3/seed{seed}" --verbose
