#!/usr/bin/env bash
# The pictures of the embedded experiments, into OUTPUT/figures: features, confusion, training curves and the words of the
# prompts (of SHIP's first seed), few-shot curves, base against new accuracy. What has not been run yet is run.
#
#   bash scripts/ship/figures.sh
#
# From the environment: what learners.sh and few_shot.sh read.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"

read -r -a seeds <<<"${SEEDS:-1 2 3}"
for script in learners few_shot; do
    echo "What the pictures need of $script:"
    bash "scripts/ship/$script.sh" miniworld "${seeds[@]}" | grep -v "finished before" | grep "seed" || true
done

figures="$OUTPUT/figures"
run="$OUTPUT/learners/miniworld/shots_16/SHIP/miniclip/seed${seeds[0]}"
for picture in features confusion curves; do
    "$PYTHON" -m shipclip figures "$picture" "$run" --out "$figures"
done
"$PYTHON" -m shipclip interpret --model-dir "$run" --out "$figures" | tail -n 1
"$PYTHON" -m shipclip figures shots "$OUTPUT" --out "$figures"
"$PYTHON" -m shipclip figures scatter "$OUTPUT" --out "$figures"
