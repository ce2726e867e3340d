"""A model in use, on the embedded data: how sure it is, what it calls unknown, what --learner auto is worth, and ONNX's
speed beside torch's.

    python benchmarks/in_use.py [--seeds 1 2 3] [--shots 16] [--root data] [--out output/in_use]

The first half of MiniWorld's classes have images, the next quarter a name alone, the last are unknown. Learners are
fitted as `shipclip fit --reject 0.05` does it, those whose accuracy alone is shown as with `--no-calibration`; nothing
of a test image is used for it. Finished fits are skipped. The tables are printed, and left in the output folder as
Markdown.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import io
import json
import os
import sys
import time
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import torch
from tabulate import tabulate

import shipclip
from shipclip.choose import CHEAP
from shipclip.data import DATASETS
from shipclip.data.fewshot import draw, seeded_generator
from shipclip.export import export
from shipclip.files import write_json, write_text
from shipclip.unknown import told_apart

RATE = 0.05
SHOWN = (
    "auto",
    "ZeroshotCLIP",
    "TipAdapter",
    "CLIPAdapter",
    "SHIP+CLIPAdapter",
    "CoOp",
    "SHIP+CoOp",
)  # beyond accuracy
REJECTED = ("base", "new", "unknown")  # kinds of test images
PICTURES = 200  # that ONNX and torch are timed on
REPEATS = 5


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[1, 2, 3])
    parser.add_argument("--shots", type=int, default=16, help="training images a class")
    parser.add_argument("--root", default="data", help="folder of the data sets")
    parser.add_argument("--out", type=Path, default=Path("output/in_use"))
    args = parser.parse_args()
    found = {seed: of_seed(args, seed) for seed in args.seeds}
    first = shipclip.load(args.out / f"seed{args.seeds[0]}" / "auto" / "model", device="cpu")
    text = "\n\n".join([confidence(found), unknown(found), chosen(found), speed(first, args)])
    write_text(args.out / "tables.md", text + "\n")
    print(text)


# -- fits -----------------------------------------------------------------------------------------------------


def of_seed(args: argparse.Namespace, seed: int) -> dict[str, dict[str, Any]]:
    """Figures of every fit of a seed, by name."""
    folder = args.out / f"seed{seed}"
    photos, others = photographs(args, seed, folder)
    kept = {"FEATURES.CACHE_DIR": str(folder / "features")}  # encoded images and generators, which fits share
    fits: dict[str, dict[str, Any]] = {"auto": {"learner": "auto"}}
    for learner in (*CHEAP, "CoOp"):
        fits[learner] = {"learner": learner, "alone": True}
        if learner != "ZeroshotCLIP":
            fits[f"SHIP+{learner}"] = {"learner": learner}
    out = {}
    for name, wish in fits.items():
        file = folder / name / "figures.json"
        if not file.is_file():
            print(f"seed {seed}: {name}", file=sys.stderr, flush=True)
            wish |= {"reject": RATE} if name in SHOWN else {"calibrate": False}
            with contextlib.redirect_stdout(io.StringIO()):
                model = shipclip.fit(photos, backbone="MiniCLIP", seed=seed, device="cpu", options=kept, **wish)
                found = {**model.figures, "chosen": model.chosen}
                if name in SHOWN:
                    model.save(folder / name / "model")
                    known = {kind: tested(photos, kind) for kind in ("base", "new")}
                    found["apart"] = told_apart(model, known, others)
            write_json(file, found)
        out[name] = json.loads(file.read_text())
    return out


def photographs(args: argparse.Namespace, seed: int, folder: Path) -> tuple[Path, list[str]]:
    """A folder with the lists of a fit (ImageFolder's images.csv and classnames.txt), and unknown images."""
    with contextlib.redirect_stdout(io.StringIO()):
        split = DATASETS.get("MiniWorld")(args.root).split()
    names = list(split.names().values())
    shown, by_name = names[: len(names) // 2], names[len(names) // 2 : 3 * len(names) // 4]
    train = [item for item in draw(split.train, args.shots, seeded_generator(seed)) if item.classname in shown]
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(["path", "class", "split"])
    for part, items in (("train", train), ("test", split.test)):
        of = [item for item in items if item.classname in (*shown, *by_name)]
        rows.writerows([os.path.abspath(item.impath), item.classname, part] for item in of)
    write_text(folder / "photos" / "images.csv", text.getvalue())
    write_text(folder / "photos" / "classnames.txt", "\n".join(by_name) + "\n")
    return folder / "photos", [item.impath for item in split.test if item.classname not in (*shown, *by_name)]


def tested(photos: Path, kind: str = "") -> list[str]:
    """Test images: all, or those of classes with images ("base") or by name ("new")."""
    by_name = (photos / "classnames.txt").read_text(encoding="utf-8").splitlines()
    with open(photos / "images.csv", newline="", encoding="utf-8") as text:
        rows = [row for row in csv.DictReader(text) if row["split"] == "test"]
    return [row["path"] for row in rows if not kind or (kind == "new") == (row["class"] in by_name)]


# -- tables ---------------------------------------------------------------------------------------------------


def cell(values: list[float], digits: int = 1) -> str:
    return f"{fmean(values):.{digits}f} +- {pstdev(values):.{digits}f}"


def table(rows: list[list[str]], head: list[str]) -> str:
    return tabulate(rows, head, tablefmt="github", disable_numparse=True, stralign="left")


def confidence(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """Calibration errors before and after, of base and of new images among all classes."""
    rows = []
    for name in SHOWN:
        cells = [name]
        for part in ("", "base", "new"):
            for side in ("uncalibrated", "confidence"):
                of = [figures[name][side] for figures in found.values()]
                cells.append(cell([(one[part] if part else one)["ece"] for one in of]))
        brier = [
            cell([figures[name][side]["brier"] for figures in found.values()], 3)
            for side in ("uncalibrated", "confidence")
        ]
        world = cell([figures[name]["confidence"]["openworld_auc"] for figures in found.values()])
        rows.append([*cells, *brier, world])
    parts = [f"ECE, {part}, {when}" for part in ("all", "base", "new") for when in ("before", "after")]
    return "Confidence on test images\n\n" + table(
        rows, ["method", *parts, "Brier, before", "Brier, after", "OpenworldAUC"]
    )


def unknown(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """Known test images against those of classes that the model has not heard of."""
    rows = []
    for name in SHOWN:
        of = [figures[name]["apart"] for figures in found.values()]
        cells = [cell([one["scores"]["this model's rule"][key] for one in of]) for key in ("auroc", "fpr95")]
        rows.append(
            [
                f"{name}, its rule",
                *cells,
                *(cell([one["rejected"][kind] for one in of]) for kind in REJECTED),
            ]
        )
    for name in ("MCM", "CLIP's maximum"):
        of = [figures["auto"]["apart"]["scores"][name] for figures in found.values()]
        rows.append(
            [f"zero-shot CLIP, {name}", *(cell([one[key] for one in of]) for key in ("auroc", "fpr95")), "", "", ""]
        )
    head = ["known from unknown by", "AUROC", "FPR95", *(f"{kind} rejected" for kind in REJECTED)]
    return f"Unknown test images, --reject {RATE}\n\n" + table(rows, head)


def chosen(found: dict[int, dict[str, dict[str, Any]]]) -> str:
    """What auto chose, beside the best and the worst fixed learner on the test images, and how alike held-out and test
    images rank the learners."""
    rows = []
    for seed, figures in found.items():
        fixed = {name: of["mean_class_h"] for name, of in figures.items() if name not in ("auto", "CoOp", "SHIP+CoOp")}
        best, worst = max(fixed, key=fixed.__getitem__), min(fixed, key=fixed.__getitem__)
        middle = sorted(fixed.values())[len(fixed) // 2]
        auto = figures["auto"]
        held = {row["learner"]: row["h"] for row in auto["chosen"]["tried"]}
        ranks = [torch.tensor([of[name] for name in fixed]).argsort().argsort().double() for of in (held, fixed)]
        alike = torch.corrcoef(torch.stack(ranks))[0, 1].item()
        rows.append([
            str(seed), f"{auto['mean_class_h']:.1f} ({auto['chosen']['learner']})", f"{fixed[best]:.1f} ({best})",
            f"{middle:.1f}", f"{fixed[worst]:.1f} ({worst})", f"{alike:.2f}",
        ])  # fmt: skip
    head = ["seed", "auto", "best fixed learner", "median", "worst fixed learner", "rank correlation"]
    return "--learner auto: H of base and new among all classes, test images\n\n" + table(rows, head)


def speed(model: shipclip.Classifier, args: argparse.Namespace) -> str:
    """Images a second, of preprocessed images in batches of 32, torch and onnxruntime in turn."""
    import onnxruntime

    threads = torch.get_num_threads()
    done = export(model, args.out / "onnx")
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(str(done.file), options, providers=["CPUExecutionProvider"])
    files = tested(args.out / f"seed{args.seeds[0]}" / "photos")[:PICTURES]
    batches = [batch for _, batch in model.batches(files, 32)]
    frozen = model.frozen().eval()
    worst, best = 0.0, {"torch": 0.0, "onnxruntime": 0.0}
    for _ in range(REPEATS):
        began = time.time()
        with torch.inference_mode():
            ours = torch.cat([frozen(batch).probabilities for batch in batches])
        middle = time.time()
        theirs = torch.cat([torch.from_numpy(session.run(None, {"images": b.numpy()})[1]) for b in batches])
        ended = time.time()
        best["torch"] = max(best["torch"], len(files) / (middle - began))
        best["onnxruntime"] = max(best["onnxruntime"], len(files) / (ended - middle))
        worst = max(worst, float((ours - theirs).abs().max()))
    rows = [[name, f"{rate:.0f}", f"{rate / best['torch']:.2f}"] for name, rate in best.items()]
    words = f"{len(files)} photographs, {threads} thread{'s' * (threads > 1)}, best of {REPEATS}"
    return f"Exported model: {words}; largest difference of a probability {worst:.1e}\n\n" + table(
        rows, ["", "images/s", "times torch"]
    )


if __name__ == "__main__":
    main()
