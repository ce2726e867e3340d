#!/usr/bin/env bash
# Cross-data-set transfer: everything is trained on a source and tested on all classes of each target. SHIP's generator is
# trained on the source; from it synthetic features of a target's classes are made of their names alone, and the learner is
# tuned on these. CoOp's and CoCoOp's contexts are carried over. ImageNet's variants are targets like others.
#
#   bash scripts/ship/cross_dataset.sh                          the embedded worlds, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/cross_dataset.sh imagenet                          all targets and the variants
#   DATA=/path/to/data bash scripts/ship/cross_dataset.sh imagenet oxford_pets imagenet_a
#
# From the environment: METHODS (default "ZeroshotCLIP CoOp CoCoOp SHIP"), and what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
run cross_dataset "$@"
