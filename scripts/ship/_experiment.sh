# Sourced after _run.sh by the scripts that run many methods and seeds: several seeds at once, finished runs skipped,
# a failed one named and left behind.
#
# From the environment: JOBS, the number of runs at once (default 1; on the embedded data set as many as there are cores,
# at most 4), each with its share of the cores.

take_arguments() { # [dataset] [seeds...]
    dataset=${1:-miniworld}
    seeds=("${@:2}")
    [ ${#seeds[@]} -gt 0 ] || seeds=(1 2 3)
}

cores() { getconf _NPROCESSORS_ONLN; }

need_dataset() { # dataset
    [ -f "configs/datasets/$1.yaml" ] || {
        echo "error: there is no data set $1; known: $(cd configs/datasets && ls | sed 's/\.yaml$//' | tr '\n' ' ')" >&2
        exit 2
    }
    data_root_of "$1" >/dev/null
    JOBS=${JOBS:-$(is_embedded "$1" && echo "$(($(cores) < 4 ? $(cores) : 4))" || echo 1)}
    if [ "$JOBS" -gt 1 ]; then
        local threads=$(($(cores) / JOBS))
        export OMP_NUM_THREADS=${OMP_NUM_THREADS:-$((threads > 0 ? threads : 1))}
    fi
}

begin=$SECONDS
failures=$(mktemp "${TMPDIR:-/tmp}/ship.XXXXXX") # a line each; seeds run in processes of their own
trap 'rm -f "$failures"' EXIT
trap 'kill $(jobs -p) $(descendants) 2>/dev/null || true; echo; echo "Interrupted; run the same command to go on"; exit 130' INT TERM

# The processes below this one, runs of train.py among them: in bash 3.2 these do not hear Ctrl-C.
descendants() {
    ps -A -o pid= -o ppid= 2>/dev/null | awk -v top=$$ '
        { parent[$1] = $2 }
        END { for (pid in parent) { up = parent[pid]; while (up > 1 && up != top) up = parent[up]; if (up == top) print pid } }'
}

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
    found=$(cat "$1"/log.txt* 2>/dev/null | grep '^\* accuracy:' | tail -n 1 | sed 's/^\* //')
    echo "${found:+$found }"
}

# Run a function for each argument, JOBS at once.
for_each() { # function arguments...
    local action=$1 argument
    shift
    for argument in "$@"; do
        "$action" "$argument" &
        while [ "$(jobs -rp | wc -l)" -ge "$JOBS" ]; do sleep 0.2; done
    done
    wait
}

# Run a function for every pair of a seed and a word, given as "seed word": no core waits for the last seed.
for_each_pair() { # function words...
    local action=$1 seed word pairs=()
    shift
    for seed in "${seeds[@]}"; do
        for word in "$@"; do pairs+=("$seed $word"); done
    done
    for_each "$action" ${pairs[@]+"${pairs[@]}"}
}

# The table of what was run, in the formats of the given files; then what failed, if anything.
finish() { # folder files...
    local folder=$1 files=() file
    shift
    for file in "$@"; do files+=(--out "$file"); done
    echo
    echo "All runs took $((SECONDS - begin)) s"
    "$PYTHON" -m shipclip report "$folder" --seeds "${seeds[@]}" ${files[@]+"${files[@]}"} || echo "the table" >>"$failures"
    if [ -s "$failures" ]; then
        echo
        echo "$(($(wc -l <"$failures"))) failed:" >&2
        sed 's/^/  /' "$failures" >&2
        exit 1
    fi
}
