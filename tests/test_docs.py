"""The docs: the notebook runs, the pages build, and no link leads nowhere."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.in_use.conftest import needs_exporter

ROOT = Path(__file__).parents[1]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")


@needs_exporter
def test_the_notebook_runs_and_its_model_is_exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    import nbformat
    from nbclient import NotebookClient

    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    notebook = nbformat.read(ROOT / "docs" / "walkthrough.ipynb", as_version=4)
    assert not [cell for cell in notebook.cells if cell.get("outputs")]  # figures go stale
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()
    said = "".join(out.get("text", "") for cell in notebook.cells for out in cell.get("outputs", []))
    assert "chosen: " in said and "MCM" in said
    assert (tmp_path / "exported" / "model.onnx").is_file() and (tmp_path / "my_model" / "README.md").is_file()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """mkdocs stops at a link, an anchor or a public name that is not there."""
    folder = tmp_path_factory.mktemp("docs") / "site"
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "-d", str(folder)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return folder


def test_every_command_is_on_the_page_with_its_options(site: Path):
    from shipclip.cli import COMMANDS, MODULES

    page = (site / "command_line" / "index.html").read_text()
    for command in (*COMMANDS, *MODULES):
        assert f"usage: shipclip {command} " in page, command
    for option in (
        "--learner",
        "--reject",
        "--rename",
        "--format",
        "--photos",
        "--known",
        "--features",
        "--confidence",
    ):
        assert option in page, option


def test_every_public_name_is_on_the_page(site: Path):
    import shipclip

    page = (site / "python" / "index.html").read_text()
    for name in shipclip.__all__:
        assert re.search(rf'id="shipclip\.[\w.]*{name}"', page), name


def test_data_sets_and_extending_are_pages(site: Path):
    assert (site / "DATASETS" / "index.html").is_file() and (site / "EXTENDING" / "index.html").is_file()
    assert (site / "walkthrough.ipynb").is_file()


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_link_leads_nowhere(page: Path):
    """Read in the repository; in docs/ a link may also be to a page that is made of a file of the root."""
    for link in LINK.findall(re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)):
        if re.match(r"[a-z]+:", link):
            continue
        name, _, anchor = link.partition("#")
        places = [page.parent / name, *([ROOT / name] if page.parent.name == "docs" else [])] if name else [page]
        found = [place for place in places if place.exists()]
        assert found, f"{page.name} links to {link}"
        if anchor:
            assert anchor in anchors(found[0]), f"{page.name} links to {link}"


def anchors(page: Path) -> set[str]:
    """Of a page's headings, as GitHub makes them."""
    text = re.sub(r"```.*?```", "", page.read_text(), flags=re.DOTALL)
    heads = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).strip().replace(" ", "-") for head in heads}
