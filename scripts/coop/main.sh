#!/usr/bin/env bash
# CoOp on all classes, seeds 1 to 3.
#   DATA=/path/to/data bash scripts/coop/main.sh DATASET CFG POSITION N_CTX SHOTS CSC
# POSITION: end, middle or front; CSC: True or False.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
for SEED in 1 2 3; do
    "$PYTHON" train.py \
        --root "$(data_root_of "$1")" \
        --seed "$SEED" \
        --trainer CoOp \
        --dataset-config-file "configs/datasets/$1.yaml" \
        --config-file "configs/trainers/CoOp/$2.yaml" \
        --output-dir "$OUTPUT/$1/CoOp/$2_$5shots/nctx$4_csc$6_ctp$3/seed$SEED" \
        TRAINER.COOP.N_CTX "$4" \
        TRAINER.COOP.CSC "$6" \
        TRAINER.COOP.CLASS_TOKEN_POSITION "$3" \
        DATASET.NUM_SHOTS "$5"
done
