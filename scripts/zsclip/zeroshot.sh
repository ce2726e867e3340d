#!/usr/bin/env bash
# Zero-shot CLIP on all classes.
#   DATA=/path/to/data bash scripts/zsclip/zeroshot.sh DATASET TRAINER CFG
# TRAINER: ZeroshotCLIP (one prompt a class) or ZeroshotCLIP2 (an ensemble); CFG: as in configs/trainers/ZeroshotCLIP/.
. "$(dirname "${BASH_SOURCE[0]}")/../ship/_run.sh"
CFG=$3 SHOTS=-1 SEEDS=-1 run one "$2" "$1" --folder "$OUTPUT/$2/$3/$1" --verbose
