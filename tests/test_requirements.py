"""What the package needs: ranges in setup.py, exact versions in requirements/, a network for what was asked alone."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest
import setuptools
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([^ ;\\]+)", re.MULTILINE)


@pytest.fixture(scope="module")
def needed() -> list[Requirement]:
    """All that setup.py asks for, for use and for tests."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setattr(setuptools, "setup", found.update)
        exec(
            compile((ROOT / "setup.py").read_text(), str(ROOT / "setup.py"), "exec"),
            {"__file__": str(ROOT / "setup.py")},
        )
    return [Requirement(text) for text in (*found["install_requires"], *found["extras_require"]["test"])]


def pins(name: str) -> dict[str, list[Version]]:
    out: dict[str, list[Version]] = {}
    for package, version in PIN.findall((ROOT / "requirements" / name).read_text()):
        out.setdefault(canonicalize_name(package), []).append(Version(version))
    return out


def test_every_requirement_has_a_lower_bound(needed: list[Requirement]):
    assert [str(r) for r in needed if not any(s.operator == ">=" for s in r.specifier)] == []


def test_the_lock_holds_all_requirements_within_their_ranges(needed: list[Requirement]):
    locked = pins("locked.txt")
    for requirement in needed:
        versions = locked.get(canonicalize_name(requirement.name), [])
        assert versions, f"{requirement} is not in requirements/locked.txt: make lock"
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: make lock"


def test_the_oldest_versions_are_those_that_setup_allows(needed: list[Requirement]):
    oldest = pins("oldest.txt")
    for requirement in needed:
        bound = next(Version(s.version) for s in requirement.specifier if s.operator == ">=")
        (version,) = oldest[canonicalize_name(requirement.name)]
        # A bound without its last number (2.4) has as its first release 2.4.0, or where that is missing the next.
        assert version.release[: len(bound.release)] == bound.release, f"{requirement}, not {version}: make lock"


@pytest.mark.parametrize("name", ["locked.txt", "oldest.txt"])
def test_every_pinned_file_is_known_by_its_digest(name: str):
    blocks = re.split(r"\n(?=[A-Za-z0-9])", (ROOT / "requirements" / name).read_text())
    blocks = [block for block in blocks if PIN.match(block)]
    assert len(blocks) > 50 and all("--hash=sha256:" in block for block in blocks)


AUDITS = {
    "clean": ('{"dependencies": [{"name": "a", "version": "1", "vulns": []}]}', 0, "1 packages, 0 known flaws"),
    "a flaw": (
        '{"dependencies": [{"name": "a", "version": "1", "vulns": [{"id": "CVE-1", "fix_versions": ["1.1"]}]}]}',
        1,
        "a 1: CVE-1, mended in 1.1",
    ),
    "unknown": (
        '{"dependencies": [{"name": "a", "version": "1", "vulns": []}, {"name": "b", "skip_reason": "not found"}]}',
        2,
        "could not ask about 1 of the 2 packages (b): nothing is known of these until",
    ),
    "out of reach": ("", 2, "could not ask about the packages of locked.txt (no route): nothing is known"),
}


@pytest.mark.parametrize("name", AUDITS)
def test_an_audit_that_could_not_ask_is_not_taken_for_a_clean_one(name: str, tmp_path: Path, capfd):
    said, status, sentence = AUDITS[name]
    (tmp_path / "said").write_text(said)
    (tmp_path / "pip-audit").write_text(f"#!/bin/sh\necho no route >&2\ncat '{tmp_path / 'said'}'\n")
    (tmp_path / "pip-audit").chmod(0o755)
    assert runpy.run_path(str(ROOT / "requirements" / "audit.py"))["main"](str(tmp_path / "pip-audit")) == status
    out, error = capfd.readouterr()
    assert sentence in out + error and error.count("\n") == (status == 2)


OFFLINE = """
import sys

asked = []


def hook(event, args):
    if event in ("socket.getaddrinfo", "socket.gethostbyname", "urllib.Request"):
        asked.append((event, args))
    elif event == "socket.connect" and not isinstance(args[1], (str, bytes)):  # those are sockets of this machine
        asked.append((event, args))


sys.addaudithook(hook)
import embedded
import train
import shipclip, shipclip.cli, shipclip.api, shipclip.reporting, shipclip.backbones.open_clip, datasets.check
from shipclip.miniclip import world
from tests.runs import SMALL, arguments

world.SPLITS = SMALL
folder = __import__("pathlib").Path(sys.argv[1])
status = train.main(arguments(folder / "data", folder / "out", "CoOp", "OPTIM.MAX_EPOCH", 1))
sys.exit(f"asked a network: {asked}" if asked else status)
"""


def test_no_network_is_asked_at_import_or_in_a_run_that_has_all_it_needs(tmp_path: Path):
    found = subprocess.run([sys.executable, "-c", OFFLINE, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert found.returncode == 0, found.stderr
    assert (tmp_path / "out" / "results.json").is_file()
