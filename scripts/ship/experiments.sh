#!/usr/bin/env bash
# Every experiment, one after the other: learners, ablations, few-shot curves, generalized zero-shot learning, transfer;
# then the pictures and a page with all tables.
#
#   bash scripts/ship/experiments.sh [SEEDS...]                 the embedded data sets, seeds 1 2 3
#
# From the environment: what the single scripts read. Finished runs are skipped, interrupted ones go on.
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"

here=scripts/ship
seeds=("$@")
[ ${#seeds[@]} -gt 0 ] || seeds=(1 2 3)
export SEEDS="${seeds[*]}"

# The paper's ablations, and the tuned config with one piece taken out. Options that nothing hangs on are tried within the
# base classes alone (SUBSET=dev bash scripts/ship/ablation.sh), not on test images.
export ROWS=${ROWS:-SHIP GAN MLP Gaussian TextPoint residuals generator-words learner-random kl-0.01 kl-0.1 L-1 L-16 \
    hidden-quarter hidden-double share-0.25 share-4 tuned tuned-hard tuned-ratio-0.2 tuned-Gaussian tuned-TextPoint tuned-mean}

status=0
begin=$SECONDS
for script in learners gzsl few_shot ablation; do
    bash "$here/$script.sh" miniworld "${seeds[@]}" || status=1
    echo
done
bash "$here/cross_dataset.sh" || status=1
echo
bash "$here/figures.sh" || status=1
"$PYTHON" -m shipclip report "$OUTPUT" --out "$OUTPUT/results.html" --out "$OUTPUT/results.md" >/dev/null || status=1
echo "All experiments took $((SECONDS - begin)) s; their tables and pictures are in $OUTPUT/results.html"
exit $status
