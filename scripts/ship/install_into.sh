#!/usr/bin/env bash
# Put SHIP into an existing CoOp checkout, or take it out again.
#
#   bash scripts/ship/install_into.sh /path/to/CoOp
#   bash scripts/ship/install_into.sh --undo [--force] /path/to/CoOp
#
# Copies the folders below and adds one import line to the checkout's train.py. Nothing is written over. --undo
# removes what was installed, unless one of its files has changed since (--force: all the same).
set -euo pipefail

FOLDERS=(trainers/ship trainers/prompting trainers/learners trainers/reporting trainers/report.py trainers/figures.py configs/trainers/SHIP scripts/ship)
IMPORT="import trainers.ship"
MANIFEST=.ship-installed # sha256 and path of every installed file

fail() { echo "error: $*" >&2; exit 2; }

undo=0 force=0 target=
for argument in "$@"; do
    case $argument in
        --undo) undo=1 ;;
        --force) force=1 ;;
        -*) fail "unknown option $argument: see the head of $0" ;;
        *) [ -z "$target" ] || fail "one folder is wanted, got $target and $argument"; target=$argument ;;
    esac
done
[ -n "$target" ] || fail "say which CoOp checkout: bash $0 /path/to/CoOp"
source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
[ -f "$target/train.py" ] && [ -f "$target/trainers/coop.py" ] && [ -d "$target/configs/trainers" ] ||
    fail "$target is no CoOp checkout: it has no train.py, trainers/coop.py and configs/trainers"
target=$(cd "$target" && pwd)
[ "$target" != "$source" ] || fail "$target is this repository itself, where SHIP is at home"

remove_import() {
    grep -vxF "$IMPORT" "$target/train.py" >"$target/train.py.ship-tmp" || true
    cat "$target/train.py.ship-tmp" >"$target/train.py"
    rm -f "$target/train.py.ship-tmp"
}

remove_files() { # those in the manifest, then folders that are left empty
    while read -r _ file; do rm -f "$target/$file"; done <"$target/$MANIFEST"
    for folder in "${FOLDERS[@]}"; do
        [ -d "$target/$folder" ] || continue
        find "$target/$folder" -name __pycache__ -type d -prune -exec rm -rf {} +
        find "$target/$folder" -depth -type d -empty -delete
    done
    rm -f "$target/$MANIFEST"
}

if [ "$undo" = 1 ]; then
    [ -f "$target/$MANIFEST" ] || fail "SHIP is not installed in $target: there is no $MANIFEST"
    if [ "$force" = 0 ]; then
        changed=$(cd "$target" && sha256sum --check --quiet "$MANIFEST" 2>/dev/null | sed 's/: FAILED.*//' || true)
        [ -z "$changed" ] || fail "changed since SHIP was installed: ${changed//$'\n'/, }; keep a copy and use --undo --force"
    fi
    remove_import
    remove_files
    echo "SHIP is taken out of $target"
    exit 0
fi

[ ! -e "$target/$MANIFEST" ] || fail "SHIP is installed in $target already: take it out with --undo first"
for folder in "${FOLDERS[@]}"; do
    [ ! -e "$target/$folder" ] || fail "$target/$folder exists already and is not written over: move it away"
done
grep -q '^import trainers\.' "$target/train.py" ||
    fail "$target/train.py imports no trainers, so there is no place for \"$IMPORT\""

done=0
trap '[ "$done" = 1 ] || { touch "$target/$MANIFEST"; remove_import; for f in "${FOLDERS[@]}"; do rm -rf "${target:?}/$f"; done; rm -f "$target/$MANIFEST"; echo "error: nothing was installed" >&2; }' EXIT
for folder in "${FOLDERS[@]}"; do
    mkdir -p "$target/$(dirname "$folder")"
    cp -R "$source/$folder" "$target/$folder"
    find "$target/$folder" -name __pycache__ -type d -prune -exec rm -rf {} +
done
rm -f "$target/scripts/ship/install_into.sh"
(cd "$target" && find "${FOLDERS[@]}" -type f -exec sha256sum {} + >"$MANIFEST")
line=$(grep -n '^import trainers\.' "$target/train.py" | tail -n 1 | cut -d: -f1)
sed "${line}a $IMPORT" "$target/train.py" >"$target/train.py.ship-tmp"
cat "$target/train.py.ship-tmp" >"$target/train.py" # keeps the file's mode
rm -f "$target/train.py.ship-tmp"
done=1
echo "SHIP is installed in $target; try: python train.py --trainer SHIP --config-file configs/trainers/SHIP/vit_b16.yaml ..."
