"""Tables as text, Markdown, CSV, LaTeX, JSON and a page in HTML."""

from __future__ import annotations

import base64
import csv
import html
import io
import json
from pathlib import Path

from tabulate import tabulate

from .columns import HEADINGS
from .tables import Table

LATEX = {character: f"\\{character}" for character in "&%_#${}"}
LATEX |= {"\\": r"\textbackslash{}", "^": r"\textasciicircum{}", "~": r"\textasciitilde{}"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 100rem; padding: 0 1rem; color: #222; }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; text-align: left; border-bottom: 1px solid #ddd; }
th { border-bottom: 2px solid #888; }
figure { margin: 2rem 0; } figure img { max-width: 100%; } figcaption, li { color: #555; }
.wide { overflow-x: auto; }
"""


def as_text(tables: list[Table], folder: Path) -> str:
    return "\n".join(f"{t.title}\n\n{_table(t, 'simple')}\n{_lines(t.notes)}" for t in tables)


def as_markdown(tables: list[Table], folder: Path) -> str:
    parts = []
    for t in tables:
        notes = "".join(f"- {note}\n" for note in t.notes)
        parts.append(f"# {t.title}\n\n{_table(t, 'github')}\n\n{notes}")
    return "\n".join(parts)


def as_latex(tables: list[Table], folder: Path) -> str:
    parts = []
    for t in tables:
        body = [[cell.replace("+-", r"$\pm$") for cell in map(_latex, row)] for row in t.body()]
        table = tabulate(body, [_latex(h) for h in t.header()], tablefmt="latex_raw", disable_numparse=True)
        notes = "".join(f"% {note}\n" for note in t.notes)
        parts.append(f"% {t.title}\n{table}\n{notes}")
    return "\n".join(parts)


def as_csv(tables: list[Table], folder: Path) -> str:
    """One line for each row and seed."""
    columns = [c for c in HEADINGS if any(c in t.columns for t in tables)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["experiment", "dataset", "shots", "method", "config", "settings", "seed", *columns])
    for t in tables:
        for row in t.rows:
            for seed in row.seeds():
                facts = [t.name, row.dataset, row.shots, row.method, row.config, row.differs, seed]
                writer.writerow([*facts, *(row.values.get(c, {}).get(seed, "") for c in columns)])
    return text.getvalue()


def as_json(tables: list[Table], folder: Path) -> str:
    """Means, deviations and each seed's values."""
    content = [
        {
            "experiment": t.name,
            "rows": [
                {
                    "dataset": row.dataset,
                    "shots": row.shots,
                    "method": row.method,
                    "config": row.config,
                    "settings": row.differs,
                    "columns": {
                        c: {
                            "mean": row.mean(c),
                            "std": row.deviation(c),
                            "seeds": {str(seed): row.values[c][seed] for seed in row.seeds(c)},
                        }
                        for c in t.columns
                        if row.values.get(c)
                    },
                }
                for row in t.rows
            ],
            "notes": t.notes,
        }
        for t in tables
    ]
    return json.dumps({"version": 2, "tables": content}, indent=2) + "\n"


def as_html(tables: list[Table], folder: Path) -> str:
    """A page with all tables and with the pictures below the folder in it; it loads nothing else."""
    parts = []
    for t in tables:
        notes = "".join(f"<li>{html.escape(note)}</li>" for note in t.notes)
        table = tabulate(t.body(), t.header(), tablefmt="html", disable_numparse=True)
        table = table.replace(" +- ", "&nbsp;±&nbsp;")  # a figure stays on one line
        notes = notes.replace("+-", "±")
        parts.append(f'<h2>{html.escape(t.title)}</h2>\n<div class="wide">{table}</div>\n<ul>{notes}</ul>')
    for file in sorted(folder.rglob("*.png")):
        name = html.escape(file.relative_to(folder).with_suffix("").as_posix())
        data = base64.b64encode(file.read_bytes()).decode()
        image = f'<img alt="{name}" src="data:image/png;base64,{data}">'
        parts.append(f"<figure>{image}<figcaption>{name}</figcaption></figure>")
    title = html.escape(f"Results in {folder.resolve().name}")
    phone = '<meta name="viewport" content="width=device-width, initial-scale=1">'  # else tables shrink to nothing
    head = f'<meta charset="utf-8">\n{phone}\n<title>{title}</title>\n<style>{STYLE}</style>'
    body = "\n".join(parts)
    return (
        f'<!doctype html>\n<html lang="en">\n<head>{head}</head>\n<body>\n<h1>{title}</h1>\n{body}\n</body>\n</html>\n'
    )


def _table(t: Table, style: str) -> str:
    body = t.body()
    if style == "github":
        body = [[cell.replace("|", r"\|") for cell in row] for row in body]
    return tabulate(body, t.header(), tablefmt=style, disable_numparse=True, stralign="left")


def _lines(notes: list[str]) -> str:
    return "".join(f"{note}\n" for note in notes)


def _latex(text: str) -> str:
    return "".join(LATEX.get(character, character) for character in text)
