"""The installer that puts SHIP into a CoOp checkout."""

from __future__ import annotations

import importlib.util
import subprocess
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[2]


@pytest.fixture
def coop(tmp_path: Path) -> Path:
    """What the installer takes for a CoOp checkout."""
    folder = tmp_path / "their CoOp"
    (folder / "configs" / "trainers" / "CoOp").mkdir(parents=True)
    (folder / "trainers").mkdir()
    (folder / "trainers" / "coop.py").touch()
    (folder / "train.py").write_text("import trainers.coop\nimport trainers.cocoop\n\nprint('main')\n")
    return folder


def install(coop: Path, *flags: str) -> subprocess.CompletedProcess:
    command = ["bash", REPOSITORY / "scripts/ship/install_into.sh", *flags, coop]
    return subprocess.run(command, capture_output=True, text=True)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def test_installing_adds_files_and_one_line_and_undo_takes_them_out(coop: Path):
    before = tree(coop)
    assert install(coop).returncode == 0
    assert (coop / "train.py").read_text().splitlines()[:3] == [
        *("import trainers.coop", "import trainers.cocoop", "import trainers.ship")
    ]
    added = set(tree(coop)) - set(before)
    assert {"trainers/ship/trainer.py", "configs/trainers/SHIP/vit_b16.yaml", "scripts/ship/base2new.sh"} <= added
    assert not any("__pycache__" in name or "install_into" in name for name in added)
    assert install(coop, "--undo").returncode == 0
    assert tree(coop) == before
    assert not (coop / "trainers" / "ship").exists()


def test_nothing_is_written_over(coop: Path):
    (coop / "trainers" / "ship").mkdir()
    before = tree(coop)
    done = install(coop)
    assert done.returncode == 2 and "trainers/ship exists already" in done.stderr
    assert tree(coop) == before


def test_installing_twice_is_refused(coop: Path):
    install(coop)
    done = install(coop)
    assert done.returncode == 2 and "installed in" in done.stderr and "--undo" in done.stderr


def test_a_changed_file_is_kept_unless_forced(coop: Path):
    before = tree(coop)
    install(coop)
    (coop / "trainers" / "ship" / "trainer.py").write_text("mine")
    done = install(coop, "--undo")
    assert done.returncode == 2 and "changed since SHIP was installed: trainers/ship/trainer.py" in done.stderr
    assert (coop / "trainers" / "ship" / "trainer.py").read_text() == "mine"
    assert install(coop, "--undo", "--force").returncode == 0
    assert tree(coop) == before


def test_a_failure_midway_leaves_nothing(coop: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    before = tree(coop)
    spec = importlib.util.spec_from_file_location("install_into", REPOSITORY / "scripts/ship/install_into.py")
    installer = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(installer)

    def fail(file: Path) -> str:
        raise OSError("no space left")

    monkeypatch.setattr(installer, "digest", fail)
    assert installer.main([str(REPOSITORY), str(coop), "."]) == 2
    assert "nothing was installed" in capsys.readouterr().err
    assert tree(coop) == before


def test_train_py_keeps_its_mode(coop: Path):
    (coop / "train.py").chmod(0o755)
    install(coop)
    assert (coop / "train.py").stat().st_mode & 0o777 == 0o755


def test_another_folder_is_refused(tmp_path: Path):
    done = install(tmp_path)
    assert done.returncode == 2 and "is no CoOp checkout" in done.stderr
