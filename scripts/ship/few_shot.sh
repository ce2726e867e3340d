#!/usr/bin/env bash
# Few-shot curves: 1, 2, 4, 8 and 16 shots of the base classes, tested among its own classes and among all.
#
#   bash scripts/ship/few_shot.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: METHODS, ALL_SHOTS (default "1 2 4 8 16"), JOBS as in _experiment.sh, and DATA CFG OUTPUT
# FEATURE_CACHE OPTS PYTHON VERBOSE as in _run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

take_arguments "$@"
METHODS=${METHODS:-ZeroshotCLIP CoOp SHIP CLIPAdapter $(tuned_for "$dataset")}
need_dataset "$dataset"

run_one() { # "seed method"
    local seed method folder
    read -r seed method <<<"$1"
    for SHOTS in ${ALL_SHOTS:-1 2 4 8 16}; do
        folder="$OUTPUT/few_shot/$dataset/shots_$SHOTS/$(name_of "$method")/$(config_of "$method" "$dataset")/seed$seed"
        step "$method, $SHOTS shots, seed $seed" "$folder" joint_run "$method" "$dataset" "$seed" "$folder" gzsl || continue
    done
}

echo "Few-shot curves on $dataset, seeds ${seeds[*]}"
# shellcheck disable=SC2086  # METHODS is a list of words
for_each_pair run_one $METHODS
stem="$OUTPUT/few_shot/$dataset"
finish "$OUTPUT/few_shot" "$stem.md" "$stem.csv" "$stem.json"
