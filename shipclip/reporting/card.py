"""The card of a saved model: what it is, what it knows, and how it was measured."""

from __future__ import annotations

from typing import Any

from tabulate import tabulate


def card(model: Any) -> str:
    """README.md of a `bundle.Classifier`."""
    tree, names = model.tree, model.classes
    with_images = [name for name in names if model.images.get(name)]
    by_name = [name for name in names if not model.images.get(name)]
    method = tree["TRAINER"]["NAME"]
    learner = type(model.learner).__name__
    ship = f"SHIP with {learner}: features of the classes without images were synthesized from their names"
    rows = [
        ["method", ship if method.startswith("SHIP") else learner],
        ["backbone", f"{model.backbone.name} (weights {model.backbone.digest[:12]})"],
        ["classes with images", f"{len(with_images)}"],
        ["classes by name alone", f"{len(by_name)}"],
        ["seed", str(tree.get("SEED", ""))],
    ]
    lines = ["# A classifier of images", "", tabulate(rows, ["", ""], tablefmt="github"), ""]
    lines += ["## Figures", "", *_figures(model.figures), ""]
    lines += ["## Classes", "", tabulate(_classes(model), ["class", "training images"], tablefmt="github"), ""]
    lines += [
        "## Use",
        "",
        "```python",
        "import shipclip",
        "",
        'model = shipclip.load("this folder")',
        'for p in model.predict(["an_image.jpg"], top=5):',
        "    print(p.name, p.probability)",
        "```",
        "",
    ]
    return "\n".join(lines)


def _figures(figures: dict[str, Any]) -> list[str]:
    shown = {
        "accuracy": "accuracy among all classes",
        "base_accuracy": "images of classes with training images",
        "new_accuracy": "images of classes known by name alone",
        "h": "harmonic mean of the two",
    }
    rows = [[text, f"{figures[key]:.1f} %"] for key, text in shown.items() if key in figures]
    if not rows:
        return ["There were no test images, so nothing is known of its accuracy."]
    return [tabulate(rows, ["on the test images", ""], tablefmt="github")]


def _classes(model: Any) -> list[list[str]]:
    return [[name.replace("|", "\\|"), str(model.images.get(name, 0) or "none, by name")] for name in model.classes]
