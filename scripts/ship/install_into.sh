#!/usr/bin/env bash
# Put SHIP into an existing checkout of CoOp's kind, or take it out again. The library itself comes by pip.
#
#   pip install /path/to/this/repository
#   bash scripts/ship/install_into.sh /path/to/CoOp
#   bash scripts/ship/install_into.sh --undo [--force] /path/to/CoOp
#
# Copies the folders below and adds one import line to the checkout's train.py. Nothing is written over. --undo
# removes what was installed, unless one of its files has changed since (--force: all the same).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
exec "${PYTHON:-python3}" install_into.py "$(cd ../.. && pwd)" "$OLDPWD" "$@"
