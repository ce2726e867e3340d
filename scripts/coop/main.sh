#!/usr/bin/env bash
# CoOp on all classes, seeds 1 to 3.
#   DATA=/path/to/data bash scripts/coop/main.sh DATASET CFG POSITION N_CTX SHOTS CSC
# POSITION: end, middle or front; CSC: True or False.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
OPTS="TRAINER.COOP.N_CTX $4 TRAINER.COOP.CSC $6 TRAINER.COOP.CLASS_TOKEN_POSITION $3 ${OPTS:-}"
CFG=$2 SHOTS=$5 run one CoOp "$1" --folder "$OUTPUT/$1/CoOp/$2_$5shots/nctx$4_csc$6_ctp$3/seed{seed}" --verbose
