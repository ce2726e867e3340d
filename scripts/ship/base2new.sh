#!/usr/bin/env bash
# Base to new: train on the base classes, test on the new ones and on all together, for every method and seed;
# then the table. Finished runs are skipped, interrupted ones go on, a failed one does not stop the others.
#
#   bash scripts/ship/base2new.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/base2new.sh caltech101
#
# From the environment: METHODS (default "ZeroshotCLIP CoOp CoCoOp SHIP"; on the embedded data sets also SHIP with plain text
# features for synthetic ones, the floor; SHIP as validation likes it; and CoOp-all, which is CoOp on real shots of all
# classes: the upper bound), JOBS as in _experiment.sh, and DATA CFG SHOTS OUTPUT
# FEATURE_CACHE OPTS PYTHON VERBOSE as in _run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

take_arguments "$@"
if [ -z "${METHODS:-}" ]; then
    METHODS="ZeroshotCLIP CoOp CoCoOp SHIP"
    if is_embedded "$dataset"; then METHODS+=" SHIP:miniclip_textpoint $(tuned_for "$dataset") CoOp-all"; fi
fi
need_dataset "$dataset"

echo "Base to new on $dataset, $SHOTS shots, seeds ${seeds[*]}; methods: $METHODS"
run_one() { # "seed method"
    local seed method title subset
    read -r seed method <<<"$1"
    title="$method seed $seed"
    if [ "$method" = ZeroshotCLIP ]; then
        step "$title, base" "$(run_folder test base "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" base || return 0
    else
        subset=$(train_subset_of "$method")
        step "$title, training" "$(run_folder train "$subset" "$method" "$dataset" "$seed")" train_run "$method" "$dataset" "$seed" || return 0
        if [ "$subset" = all ]; then
            step "$title, base" "$(run_folder test base "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" base || return 0
        fi
    fi
    step "$title, new" "$(run_folder test new "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" new || return 0
    if is_ours || [ "$method" = SHIP ]; then
        step "$title, joint" "$(run_folder test all "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" all || return 0
    fi
}

# shellcheck disable=SC2086  # METHODS is a list of words
for_each_pair run_one $METHODS
stem="$OUTPUT/base2new/${dataset}_shots_$SHOTS"
finish "$OUTPUT/base2new" "$stem.md" "$stem.csv" "$stem.json"
