# Sourced by the scripts here and in scripts/{coop,cocoop,zsclip}: one run of train.py, and where it lies.
#
# These scripts run under bash 3.2 and the tools of macOS too: no newer bash, no GNU options. An array that may be empty is
# written ${name[@]+"${name[@]}"}, as bash before 4.4 takes an empty one for an unbound variable.
#
# From the environment: DATA (root of the data sets), CFG (config name of every method), SHOTS, OUTPUT (root of
# the results), FEATURE_CACHE (folder of encoded images, and of generators trained on them), OPTS (further KEY VALUE
# pairs), PYTHON, VERBOSE=1 (runs print to the console, not only to log.txt).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

SHOTS=${SHOTS:-16}
OUTPUT=${OUTPUT:-output}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi

# The config that a method takes for a data set, unless CFG says otherwise.
config_of() { # method dataset
    if [ "$1" != "${1#*:}" ]; then
        echo "${1#*:}"
    elif [ -n "${CFG:-}" ]; then
        echo "$CFG"
    elif is_embedded "$2"; then
        echo miniclip
    else
        case "${1%%+*}:$2" in
            CoOp*:imagenet) echo vit_b16_ep50_ctxv1 ;;
            CoOp*:*) echo vit_b16_ctxv1 ;;
            CoCoOp:*) echo vit_b16_c4_ep10_batch1_ctxv1 ;;
            SHIP:imagenet) if [ -f configs/trainers/SHIP/vit_b16_imagenet_reference.yaml ]; then echo vit_b16_imagenet_reference; else echo vit_b16; fi ;;
            *) echo vit_b16 ;;
        esac
    fi
}

is_embedded() { case "$1" in mini*) true ;; *) false ;; esac; } # dataset

# "CoOp-all" is CoOp tuned on real shots of all classes: the upper bound. "SHIP+GDA" is SHIP with the learner GDA, whose
# settings configs/trainers/SHIP/with_GDA.yaml adds to SHIP's own. "CoOp:vit_b16_ep50" is CoOp with that config.
trainer_of() { # method
    local method
    method=$(name_of "$1")
    method=${method%-all}
    echo "${method%%+*}"
}
name_of() { echo "${1%%:*}"; } # method, without its config
tuned_for() { # data set: SHIP with the config that validation chose, where there is one
    local config
    config=$(config_of SHIP "$1")_tuned
    if [ -f "configs/trainers/SHIP/$config.yaml" ]; then echo "SHIP:$config"; fi
}
train_subset_of() { case "$1" in *-all) echo all ;; *) echo base ;; esac; } # method

data_root_of() { # dataset
    if [ -n "${DATA:-}" ]; then
        echo "$DATA"
    elif is_embedded "$1"; then
        echo data
    else
        echo "error: say where the data sets lie: DATA=/path/to/data bash $0 $1" >&2
        return 2
    fi
}

run_folder() { # train|test subset method dataset seed
    echo "$OUTPUT/base2new/$1_$2/$4/shots_$SHOTS/$(name_of "$3")/$(config_of "$3" "$4")/seed$5"
}

# A run is finished when its results are there; CoOp's own trainers leave only a log.
is_finished() { # folder
    [ -f "$1/results.json" ] || { ! is_ours && grep -qs '^\* accuracy:' "$1"/log.txt*; }
}

is_ours() { [ -d shipclip ] && [ -d datasets ]; } # this repository, not a CoOp checkout

train_run() { # method dataset seed
    local subset folder
    subset=$(train_subset_of "$1")
    folder=$(run_folder train "$subset" "$1" "$2" "$3")
    one_run "$1" "$2" "$3" "$folder" "$subset"
}

test_run() { # method dataset seed subset
    local model_dir=() folder
    folder=$(run_folder test "$4" "$1" "$2" "$3")
    if [ "$1" != ZeroshotCLIP ]; then
        local trained epoch
        trained=$(run_folder train "$(train_subset_of "$1")" "$1" "$2" "$3")
        epoch=${LOADEP:-$(last_epoch "$trained")} || return 2
        model_dir=(--model-dir "$trained" --load-epoch "$epoch")
    fi
    one_run "$1" "$2" "$3" "$folder" "$4" --eval-only ${model_dir[@]+"${model_dir[@]}"}
}

last_epoch() { # folder of a trained run
    local files
    files=$(ls "$1/prompt_learner" 2>/dev/null | sed -n 's/^model\.pth\.tar-\([0-9][0-9]*\)$/\1/p' | sort -n | tail -n 1)
    if [ -z "$files" ]; then
        echo "error: there is no trained model in $1: run base2new_train.sh first" >&2
        return 2
    fi
    echo "$files"
}

# Training and test in one process, on images of base classes and with all classes told apart (subset gzsl), or the same
# within the base classes, to choose settings on (dev).
joint_run() { # method dataset seed folder gzsl|dev [flags]
    local method=$1 flags=()
    is_ours || { echo "error: $0 needs this project's own data sets; in a CoOp checkout use base2new.sh" >&2; return 2; }
    if [ "$method" = ZeroshotCLIP ]; then flags=(--eval-only); fi
    one_run "${@:1:5}" ${flags[@]+"${flags[@]}"} "${@:6}"
}

one_run() { # method dataset seed folder subset [flags]
    local method=$1 dataset=$2 seed=$3 folder=$4 subset=$5 trainer root cfg extra=() overlay=()
    shift 5
    if is_finished "$folder"; then
        echo "The results exist at $folder, so this run is skipped"
        return 0
    fi
    trainer=$(trainer_of "$method")
    root=$(data_root_of "$dataset") || return 2
    cfg=$(config_of "$method" "$dataset")
    case "$method" in
        *+*)
            overlay=${method#*+}
            overlay=(--config-file "configs/trainers/$trainer/with_${overlay%%:*}.yaml")
            ;;
    esac
    if [ "$trainer" = SHIP ] || is_ours; then
        extra=(FEATURES.CACHE_DIR "${FEATURE_CACHE:-$OUTPUT/features}")
    fi
    # shellcheck disable=SC2086  # OPTS is a list of words
    "$PYTHON" train.py \
        --root "$root" \
        --seed "$seed" \
        --trainer "$trainer" \
        --dataset-config-file "configs/datasets/$dataset.yaml" \
        --config-file "configs/trainers/$trainer/$cfg.yaml" ${overlay[@]+"${overlay[@]}"} \
        --output-dir "$folder" \
        "$@" \
        DATASET.NUM_SHOTS "$SHOTS" \
        DATASET.SUBSAMPLE_CLASSES "$subset" \
        ${extra[@]+"${extra[@]}"} ${OPTS:-}
}
