#!/usr/bin/env bash
# The pictures of the embedded experiments, into OUTPUT/figures: features, confusion, training curves and the words of the
# prompts (of SHIP's first seed), few-shot curves, base against new accuracy; and a page with all tables and pictures. What
# has not been run yet of the learners and the few-shot curves is run.
#
#   bash scripts/ship/figures.sh
. "$(dirname "${BASH_SOURCE[0]}")/_run.sh"
run figures
