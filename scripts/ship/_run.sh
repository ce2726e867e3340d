# Sourced by the scripts here and in scripts/{coop,cocoop,zsclip}: `shipclip run` with what the environment says.
#
# These scripts run under bash 3.2 and the tools of macOS too: no newer bash, no GNU options. An array that may be empty is
# written ${name[@]+"${name[@]}"}, as bash before 4.4 takes an empty one for an unbound variable.
#
# From the environment: DATA (root of the data sets), METHODS, SEEDS, SHOTS, CFG (config name of every method), OUTPUT (root
# of the results), FEATURE_CACHE (folder of encoded images, and of generators trained on them), JOBS (runs at once; default:
# one for each GPU, else as many as fit), OPTS (further KEY VALUE pairs), PYTHON, VERBOSE=1 (runs print to the console, not
# only to log.txt).

set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."

OUTPUT=${OUTPUT:-output}
if [ -z "${PYTHON:-}" ]; then
    PYTHON=python3
    if [ -x .venv/bin/python ]; then PYTHON=.venv/bin/python; fi
fi

# In this shell's place, so that Ctrl-C and kill reach it.
run() { # experiment names... [flags]
    local flags=(--output "$OUTPUT")
    # shellcheck disable=SC2206  # these are lists of words
    {
        if [ -n "${DATA:-}" ]; then flags+=(--data "$DATA"); fi
        if [ -n "${CFG:-}" ]; then flags+=(--config "$CFG"); fi
        if [ -n "${FEATURE_CACHE:-}" ]; then flags+=(--cache "$FEATURE_CACHE"); fi
        if [ -n "${METHODS:-}" ]; then flags+=(--methods $METHODS); fi
        if [ -n "${SEEDS:-}" ]; then flags+=(--seeds $SEEDS); fi
        if [ -n "${SHOTS:-}" ]; then flags+=(--shots $SHOTS); fi
        if [ -n "${SUBSET:-}" ]; then flags+=(--subset "$SUBSET"); fi
        if [ -n "${ROWS:-}" ]; then flags+=(--rows $ROWS); fi
        if [ -n "${JOBS:-}" ]; then flags+=(--jobs "$JOBS"); fi
        if [ "${VERBOSE:-0}" = 1 ]; then flags+=(--verbose); fi
        if [ -n "${OPTS:-}" ]; then flags+=(--opts $OPTS); fi
    }
    exec "$PYTHON" -m shipclip run "$@" "${flags[@]}"
}

on_dataset() { # experiment [dataset] [seeds...]
    local experiment=$1 dataset=${2:-miniworld}
    if [ $# -gt 2 ]; then SEEDS="${*:3}"; fi
    run "$experiment" "$dataset"
}
