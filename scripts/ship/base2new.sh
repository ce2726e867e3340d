#!/usr/bin/env bash
# Base to new: train on the base classes, test on the new ones and on all together, for every method and seed;
# then the table. Finished runs are skipped, interrupted ones go on, a failed one does not stop the others.
#
#   bash scripts/ship/base2new.sh [DATASET] [SEEDS...]          the embedded data set, seeds 1 2 3
#   DATA=/path/to/data bash scripts/ship/base2new.sh caltech101
#
# From the environment: METHODS (default "ZeroshotCLIP CoOp CoCoOp SHIP", on the embedded data set also CoOp-all,
# which is CoOp on real shots of all classes: the upper bound), and DATA CFG SHOTS OUTPUT FEATURE_CACHE OPTS PYTHON
# VERBOSE as in _run.sh; JOBS is the number of seeds that run at once (default 1; on the embedded data set as many as
# there are cores, at most 4), each with its share of the cores.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"

dataset=${1:-miniworld}
shift || true
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(1 2 3)
if [ -z "${METHODS:-}" ]; then
    METHODS="ZeroshotCLIP CoOp CoCoOp SHIP"
    if [ "$dataset" = miniworld ]; then METHODS+=" CoOp-all"; fi
fi
[ -f "configs/datasets/$dataset.yaml" ] || {
    echo "error: there is no data set $dataset; known: $(cd configs/datasets && ls | sed 's/\.yaml$//' | tr '\n' ' ')" >&2
    exit 2
}
data_root_of "$dataset" >/dev/null

JOBS=${JOBS:-$([ "$dataset" = miniworld ] && echo "$(($(nproc) < 4 ? $(nproc) : 4))" || echo 1)}
if [ "$JOBS" -gt 1 ]; then
    threads=$(($(nproc) / JOBS))
    export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
fi

failures=$(mktemp) # a line each; the seeds run in processes of their own
trap 'rm -f "$failures"' EXIT
trap 'kill $(jobs -p) 2>/dev/null; echo; echo "Interrupted; run the same command to go on"; exit 130' INT TERM

# One step of a run, its output in the run's own log.
step() { # title folder command...
    local title=$1 folder=$2 console status=0 start=$SECONDS
    shift 2
    if is_finished "$folder"; then
        echo "$title: finished before"
        return 0
    fi
    if [ "${VERBOSE:-0}" = 1 ]; then
        ( set -e; "$@" ) || status=$?
    else
        mkdir -p "$folder"
        console="$folder/console.txt"
        ( set -e; "$@" ) >"$console" 2>&1 || status=$?
    fi
    if [ "$status" -ne 0 ]; then
        [ "${VERBOSE:-0}" = 1 ] || tail -n 3 "$console" | sed 's/^/    /' >&2
        echo "$title: FAILED (exit status $status), see $folder" >&2
        echo "$title: $folder" >>"$failures"
        return 1
    fi
    [ "${VERBOSE:-0}" = 1 ] || rm -f "$console"
    echo "$title: $(accuracy_of "$folder")($((SECONDS - start)) s)"
}

accuracy_of() { # folder
    local found
    found=$(grep -s '^\* accuracy:' "$1/log.txt" | tail -n 1 | sed 's/^\* //')
    echo "${found:+$found }"
}

begin=$SECONDS
echo "Base to new on $dataset, $SHOTS shots, seeds ${seeds[*]}; methods: $METHODS"
run_seed() { # seed
    local seed=$1 method title subset
    for method in $METHODS; do
        title="$method seed $seed"
        if [ "$method" = ZeroshotCLIP ]; then
            step "$title, base" "$(run_folder test base "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" base || continue
        else
            subset=$(train_subset_of "$method")
            step "$title, training" "$(run_folder train "$subset" "$method" "$dataset" "$seed")" train_run "$method" "$dataset" "$seed" || continue
            if [ "$subset" = all ]; then
                step "$title, base" "$(run_folder test base "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" base || continue
            fi
        fi
        step "$title, new" "$(run_folder test new "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" new || continue
        if is_ours || [ "$method" = SHIP ]; then
            step "$title, joint" "$(run_folder test all "$method" "$dataset" "$seed")" test_run "$method" "$dataset" "$seed" all || continue
        fi
    done
}

for seed in "${seeds[@]}"; do
    run_seed "$seed" &
    while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do wait -n || true; done
done
wait

echo
echo "All runs took $((SECONDS - begin)) s"
"$PYTHON" -m trainers.ship.report "$OUTPUT" --dataset "$dataset" --shots "$SHOTS" --seeds "${seeds[@]}" || echo "the table" >>"$failures"
if [ -s "$failures" ]; then
    echo
    echo "$(wc -l <"$failures") failed:" >&2
    sed 's/^/  /' "$failures" >&2
    exit 1
fi
