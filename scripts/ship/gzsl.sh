#!/usr/bin/env bash
# Generalized zero-shot learning: seen classes with all their training images, unseen ones by name; U (unseen), S (seen),
# mean accuracy of classes in the joint label space, and H.
#
#   bash scripts/ship/gzsl.sh [DATASET] [SEEDS...]              the embedded data set, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/gzsl.sh cub
#
# Each method runs twice: within the seen classes, half of which play unseen ones, to choose the penalty on seen classes'
# logits (calibrated stacking), then in earnest, reported with the penalty and without. No test image has a say in it.
#
# From the environment: METHODS (default "ZeroshotCLIP CoOp CLIPAdapter SHIP SHIP+CLIPAdapter" and SHIP tuned), SHOTS
# (default -1: all images), and what _run.sh reads.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
on_dataset gzsl "$@"
