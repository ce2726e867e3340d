#!/usr/bin/env bash
# Every learner alone and with SHIP's features: trained on base classes, tested among its own classes and among all.
#
#   bash scripts/ship/learners.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#
# From the environment: SUBSET (default gzsl; dev: within the base classes, to choose settings without a look at the test
# images; in a folder of its own), METHODS, JOBS as in _experiment.sh, and DATA CFG SHOTS OUTPUT FEATURE_CACHE OPTS PYTHON VERBOSE as
# in _run.sh. A method is a trainer or SHIP+<learner>, and may name its config: CoOp:vit_b16_ep50.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

take_arguments "$@"
best=$(tuned_for "$dataset") # as validation likes; on the embedded data set also CoOp and CLIP-Adapter alone
if is_embedded "$dataset"; then best+=" CoOp:miniclip_ep200 CLIPAdapter:miniclip_tuned"; fi
METHODS=${METHODS:-ZeroshotCLIP CoOp SHIP CoCoOp SHIP+CoCoOp CLIPAdapter SHIP+CLIPAdapter TipAdapter SHIP+TipAdapter \
    TipAdapterF SHIP+TipAdapterF LinearProbe SHIP+LinearProbe GDA SHIP+GDA $best}
SUBSET=${SUBSET:-gzsl}
name=learners$([ "$SUBSET" = gzsl ] || echo "_$SUBSET")
need_dataset "$dataset"

run_one() { # "seed method"
    local seed method folder
    read -r seed method <<<"$1"
    folder="$OUTPUT/$name/$dataset/shots_$SHOTS/$(name_of "$method")/$(config_of "$method" "$dataset")/seed$seed"
    step "$method seed $seed" "$folder" joint_run "$method" "$dataset" "$seed" "$folder" "$SUBSET"
}

echo "Learners on $dataset, $SHOTS shots, seeds ${seeds[*]}"
# shellcheck disable=SC2086  # METHODS is a list of words
for_each_pair run_one $METHODS
stem="$OUTPUT/$name/${dataset}_shots_$SHOTS"
finish "$OUTPUT/$name" "$stem.md" "$stem.csv" "$stem.json"
