#!/usr/bin/env bash
# Zero-shot CLIP on all classes.
#   DATA=/path/to/data bash scripts/zsclip/zeroshot.sh DATASET TRAINER CFG
# TRAINER: ZeroshotCLIP (one prompt a class) or ZeroshotCLIP2 (an ensemble); CFG: as in configs/trainers/ZeroshotCLIP/.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
"$PYTHON" train.py \
    --root "$(data_root_of "$1")" \
    --trainer "$2" \
    --dataset-config-file "configs/datasets/$1.yaml" \
    --config-file "configs/trainers/ZeroshotCLIP/$3.yaml" \
    --output-dir "$OUTPUT/$2/$3/$1" \
    --eval-only
