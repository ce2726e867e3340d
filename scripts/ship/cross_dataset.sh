#!/usr/bin/env bash
# Cross-data-set transfer: everything is trained on a source and tested on all classes of each target. SHIP's generator is
# trained on the source; from it synthetic features of a target's classes are made of their names alone, and the learner is
# tuned on these. CoOp's and CoCoOp's contexts are carried over. ImageNet's variants are targets like others.
#
#   bash scripts/ship/cross_dataset.sh                          the embedded worlds, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/cross_dataset.sh imagenet                          all targets and the variants
#   DATA=/path/to/data bash scripts/ship/cross_dataset.sh imagenet oxford_pets imagenet_a
#
# From the environment: SEEDS (default "1 2 3"), METHODS (default "ZeroshotCLIP CoOp CoCoOp SHIP"), JOBS as in
# _experiment.sh, and DATA CFG SHOTS OUTPUT FEATURE_CACHE OPTS PYTHON VERBOSE as in _run.sh.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
. "$(dirname "${BASH_SOURCE[0]}")/_experiment.sh"

source=${1:-minisource}
shift || true
targets=("$@")
if [ ${#targets[@]} -eq 0 ]; then
    if is_embedded "$source"; then
        targets=(miniworld minisource_shifted)
    else
        targets=(caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101)
        if [ "$source" = imagenet ]; then targets+=(imagenetv2 imagenet_sketch imagenet_a imagenet_r); fi
    fi
fi
read -r -a seeds <<<"${SEEDS:-1 2 3}"
METHODS=${METHODS:-ZeroshotCLIP CoOp CoCoOp SHIP}
for name in "$source" "${targets[@]}"; do need_dataset "$name"; done

place_of() { # method dataset seed
    echo "$OUTPUT/cross_dataset/$source/$2/shots_$SHOTS/$(name_of "$1")/$(config_of "$1" "$source")/seed$3"
}

run_one() { # "seed method"
    local seed method target trained folder flags title
    read -r seed method <<<"$1"
    trained=$(place_of "$method" "$source" "$seed")
    case "$method" in
        ZeroshotCLIP) flags=(--eval-only) title="$source" ;;
        SHIP*) flags=(TRAINER.SHIP.GENERATOR.ONLY True) title="generator on $source" ;;
        *) flags=() title="training on $source" ;;
    esac
    step "$method seed $seed, $title" "$trained" one_run "$method" "$source" "$seed" "$trained" all ${flags[@]+"${flags[@]}"} || return
    for target in "${targets[@]}"; do
        folder=$(place_of "$method" "$target" "$seed")
        case "$method" in
            ZeroshotCLIP) flags=(--eval-only) ;;
            SHIP*) flags=(TRAINER.SHIP.REAL False TRAINER.SHIP.GENERATOR.FROM "$trained") ;;
            *) flags=(--eval-only --model-dir "$trained") ;;
        esac
        step "$method seed $seed, $target" "$folder" one_run "$method" "$target" "$seed" "$folder" all ${flags[@]+"${flags[@]}"} || continue
    done
}

echo "From $source to ${targets[*]}, $SHOTS shots, seeds ${seeds[*]}; methods: $METHODS"
# shellcheck disable=SC2086  # METHODS is a list of words
for_each_pair run_one $METHODS
stem="$OUTPUT/cross_dataset/${source}_shots_$SHOTS"
finish "$OUTPUT/cross_dataset" "$stem.md" "$stem.csv" "$stem.json"
