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
# (default -1: all images), JOBS as in _experiment.sh, and DATA CFG OUTPUT FEATURE_CACHE OPTS PYTHON VERBOSE as in
# _run.sh.
SHOTS=${SHOTS:--1}
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

take_arguments "$@"
METHODS=${METHODS:-ZeroshotCLIP CoOp CLIPAdapter SHIP SHIP+CLIPAdapter $(tuned_for "$dataset")}
need_dataset "$dataset"

penalty_of() { # results.json
    "$PYTHON" -c 'import json, sys; print(json.load(open(sys.argv[1]))["figures"]["best_penalty"])' "$1"
}

run_one() { # "seed method"
    local seed method place dev
    read -r seed method <<<"$1"
    place="$dataset/shots_$SHOTS/$(name_of "$method")/$(config_of "$method" "$dataset")/seed$seed"
    dev="$OUTPUT/gzsl_dev/$place"
    step "$method seed $seed, penalty" "$dev" joint_run "$method" "$dataset" "$seed" "$dev" dev || return
    step "$method seed $seed" "$OUTPUT/gzsl/$place" joint_run "$method" "$dataset" "$seed" "$OUTPUT/gzsl/$place" gzsl \
        TEST.BASE_PENALTY "$(penalty_of "$dev/results.json")"
}

echo "Generalized zero-shot learning on $dataset, seeds ${seeds[*]}; methods: $METHODS"
# shellcheck disable=SC2086  # METHODS is a list of words
for_each_pair run_one $METHODS
stem="$OUTPUT/gzsl/${dataset}_shots_$SHOTS"
finish "$OUTPUT/gzsl" "$stem.md" "$stem.csv" "$stem.json"
