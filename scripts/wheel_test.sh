#!/usr/bin/env bash
# Build the wheel, install it where nothing else of this repository is, and use it from an empty folder.
#
#   PYTHON=.venv/bin/python bash scripts/wheel_test.sh
#
# What the wheel needs is taken from the interpreter at hand, so nothing is downloaded.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
python="$(cd "$(dirname "${PYTHON:-python3}")" && pwd)/$(basename "${PYTHON:-python3}")"
work=$(mktemp -d "${TMPDIR:-/tmp}/wheel.XXXXXX")
trap 'rm -rf "$work"' EXIT

cp -R setup.py pyproject.toml README.md LICENSE shipclip configs "$work/" # building leaves folders behind
mkdir -p "$work/wheels" "$work/site" "$work/empty"
(cd "$work" && "$python" -m pip wheel --quiet --no-deps --no-build-isolation --wheel-dir wheels .) || exit 1
"$python" -m pip install --quiet --no-deps --no-compile --target "$work/site" "$work"/wheels/*.whl || exit 1

top=$(ls "$work/site" | grep -v -e '\.dist-info$' -e '^bin$')
[ "$top" = shipclip ] || { echo "error: the wheel installs more than shipclip: $top" >&2; exit 1; }

cd "$work/empty"
export PYTHONPATH="$work/site" PYTHONNOUSERSITE=1
"$python" - "$work/site" <<'END'
import pathlib
import sys

import shipclip
from shipclip.miniclip import world
from PIL import Image

assert pathlib.Path(shipclip.__file__).is_relative_to(pathlib.Path(sys.argv[1]).resolve()), shipclip.__file__
for name, count in (("red plain circle", 4), ("blue striped star", 4)):
    folder = pathlib.Path("photos/train") / name
    folder.mkdir(parents=True)
    for number in range(count):
        Image.fromarray(world.render(name, world.image_rng(0, name, number))).save(folder / f"{number}.png")
pathlib.Path("photos/classnames.txt").write_text("green dotted heart\n")
END
"$work/site/bin/shipclip" --help >/dev/null
"$work/site/bin/shipclip" fit photos -o model --backbone MiniCLIP --learner CoOp --seed 1 \
    --set OPTIM.MAX_EPOCH 2 --set TRAINER.SHIP.GENERATOR.EPOCHS 2 | tail -n 1
mv photos/train/* . && rm -r photos
"$python" -m shipclip predict model "red plain circle" --top 2 --csv out.csv
[ "$(wc -l <out.csv)" -eq 5 ] || { echo "error: out.csv has not four predictions" >&2; exit 1; }
"$python" - <<'END'
import shipclip

model = shipclip.load("model")
model.add_classes(["octopus"])
assert model.predict("red plain circle")[0].name == "red plain circle", model.predict("red plain circle")
END
echo "The wheel works from an empty folder"
