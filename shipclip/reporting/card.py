"""The card of a saved model: what it is, what it knows, and how it was measured."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate

TITLE = "# A classifier of images"


def card(model: Any) -> str:
    """README.md of a `bundle.Classifier`."""
    tree, names = model.tree, model.classes
    with_images = [name for name in names if model.images.get(name)]
    method = tree["TRAINER"]["NAME"]
    learner = type(model.learner).__name__
    ship = f"SHIP with {learner}: features of the classes without images were synthesized from their names"
    rows = [
        ["method", ship if method.startswith("SHIP") else learner],
        ["backbone", f"{model.backbone.name} (weights {model.backbone.digest[:12]})"],
        ["classes with images", f"{len(with_images)}"],
        ["classes by name alone", f"{len(names) - len(with_images)}"],
        ["seed", str(tree.get("SEED", ""))],
    ]
    sections = {
        "": [_table(rows, ["", ""])],
        "Figures": _figures(model.figures),
        "How sure it is": _confidence(model),
        "Unknown images": _unknown(model),
        "How the learner was chosen": _chosen(model.chosen),
        "Classes": [_table(class_rows(model), ["class", "training images", "held out", "test"]), "", CLASSES],
        "Use": USE,
    }
    lines = [TITLE]
    for title, content in sections.items():
        if content:
            lines += ["", *([f"## {title}", ""] if title else []), *content]
    return "\n".join([*lines, ""])


CLASSES = (
    "Held out, test: images that are right among all classes, of how many. Nothing is known of a class's accuracy "
    "where both are empty."
)
USE = [
    "```python",
    "import shipclip",
    "",
    'model = shipclip.load("this folder")',
    'for p in model.predict(["an_image.jpg"], top=5):',
    "    print(p.name, p.probability)",
    "```",
]


def _figures(figures: dict[str, Any]) -> list[str]:
    shown = {
        "accuracy": "accuracy among all classes",
        "base_accuracy": "images of classes with training images",
        "new_accuracy": "images of classes known by name alone",
        "h": "harmonic mean of the two",
    }
    rows = [[text, f"{figures[key]:.1f} %"] for key, text in shown.items() if key in figures]
    lines = [_table(rows, ["on the test images", ""])] if rows else []
    held = figures.get("held_out", {}).get("accuracy")
    if held:
        rows = [["classes that it was shown", f"{held['base']:.1f} %"]]
        if held["new"] is not None:
            rows += [["classes taken away, by name", f"{held['new']:.1f} %"], ["harmonic mean", f"{held['h']:.1f} %"]]
        lines += ["", _table(rows, ["on held-out training images, mean over classes", ""])]
    if "accuracy" not in figures:
        lines = ["There were no test images, so nothing is known of its accuracy on any.", *lines]
    return lines


def _confidence(model: Any) -> list[str]:
    way, held, tested = model.calibration, model.figures.get("held_out"), model.figures.get("confidence", {})
    if not held:
        return ["No image was held out, so its probabilities are as the learner has them: do not trust them."]
    rows = []
    for title, before, after in (
        ("held-out images", held["uncalibrated"], held["calibrated"]),
        ("test images", model.figures.get("uncalibrated", {}), tested),
        ("test images, classes with images", model.figures.get("uncalibrated", {}).get("base"), tested.get("base")),
        ("test images, classes by name", model.figures.get("uncalibrated", {}).get("new"), tested.get("new")),
    ):
        if before and after and "ece" in after:
            cells = [f"{side[key]:.{digits}f}" for key, digits in MEASURES for side in (before, after)]
            rows.append([title, *cells])
    head = [
        "",
        *(f"{text}, {when}" for text in ("ECE (%)", "adaptive ECE (%)", "Brier") for when in ("before", "after")),
    ]
    aware = ", and by their distance for classes by name" if way.distance_aware else ""
    return [f"Logits are divided by {way.temperature:.3g}, fitted to {held['images']} held-out images{aware}.", "",
            _table(rows, head)]  # fmt: skip


MEASURES = (("ece", 1), ("adaptive_ece", 1), ("brier", 3))


def _unknown(model: Any) -> list[str]:
    rule, said = model.rejection, model.figures.get("held_out", {}).get("unknown", {})
    if rule is None:
        return []
    share = ", ".join(f"{rate:.1f} % of {said['images'][kind]} ({kind})" for kind, rate in said["rejected"].items())
    lines = [
        f"An image is called unknown where its {rule.shown.score} score is below {rule.shown.threshold:.4g}; where a "
        f"class by name is the most probable, its {rule.by_name.score} score below {rule.by_name.threshold:.4g}. The "
        f"wanted rate of known images that are rejected is {100 * rule.rate:g} %. To be expected, by held-out images "
        f"of classes that the rule was not made from: {share}.",
    ]
    if said["scores"]:
        lines += ["", unknown_table(said["scores"])]
    return lines


def unknown_table(scores: dict[str, dict[str, float]], style: str = "github") -> str:
    """AUROC and FPR95 of each score."""
    rows = [[name, f"{of['auroc']:.1f}", f"{of['fpr95']:.1f}"] for name, of in scores.items()]
    return tabulate(rows, ["known from unknown by", "AUROC (%)", "FPR95 (%)"], tablefmt=style, disable_numparse=True)


def _chosen(chosen: dict[str, Any]) -> list[str]:
    if "tried" not in chosen:
        return []
    text = (
        "On held-out training images; H is the harmonic mean of the two accuracies, each the mean over classes. The "
        "first was chosen: the simplest of those within a standard error of the best."
    )
    return [text, "", chosen_table(chosen["tried"], "github")]


def chosen_table(rows: list[dict[str, Any]], style: str = "simple") -> str:
    """The learners that were tried, the chosen one first."""
    body = [
        [
            row["learner"],
            f"{row['base']:.1f}",
            "-" if row["new"] is None else f"{row['new']:.1f}",
            f"{row['h']:.1f}",
            f"{row['nll']:.3f}",
            row["epochs"] or "-",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    head = ["learner", "shown classes", "classes by name", "H", "NLL", "epochs", "seconds"]
    return tabulate(body, head, tablefmt=style, disable_numparse=True, stralign="left")


def class_rows(model: Any) -> list[list[str]]:
    """Each class: training images, and how many were right of those held out and of those tested."""

    def counts(kind: str, name: str) -> str:
        found = model.records.get(kind, {}).get(name)
        return f"{found[0]} of {found[1]}" if found else ""

    return [
        [
            name,
            str(model.images.get(name, 0) or "none, by name"),
            counts("held out", name),
            counts("test", name),
        ]
        for name in model.classes
    ]


def _table(rows: list[list[str]], head: list[str]) -> str:
    rows = [[str(cell).replace("|", "\\|") for cell in row] for row in rows]
    return tabulate(rows, head, tablefmt="github", disable_numparse=True)
