"""The shell scripts under bash 3.2 and the tools of macOS: what these lack is refused, and POSIX tools are enough."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.scripts.test_shell import REPOSITORY, SCRIPTS, bash, calls
from tests.scripts.test_shell import asked as asked  # fixtures
from tests.scripts.test_shell import checkout as checkout

REFUSED = {
    r"\bwait\s+-[nfp]": "wait -n needs bash 4.3: poll jobs -rp",
    r"\b(mapfile|readarray)\b": "mapfile needs bash 4: while read",
    r"\b(declare|local|typeset)\s+-\w*[Ang]": "declare -A, -n and -g need bash 4",
    r"\$\{\w+(\[[^]]*\])?(,|\^|@[A-Za-z])": "${x,,}, ${x^^} and ${x@Q} need bash 4",
    r"\$\{\w+\[-": "negative subscripts need bash 4.3",
    r"&>>|\|&": "&>> and |& need bash 4",
    r"\bcoproc\b|\bshopt\s+-s\s+(globstar|lastpipe)": "needs bash 4",
    r"\$(EPOCH|BASHPID|SRANDOM)": "a variable of a newer bash",
    r"\bsed\b[^|]*\\[|+?]": "sed's \\|, \\+ and \\? are GNU's",
    r"\bsed\s+(-\w+\s+)*(-i|-r|--)": "sed -i, -r and long options are GNU's",
    r"\bsed\b[^|]*[\d$}][aic]\s+\S": "sed's one-line a, i and c are GNU's",
    r"\bnproc\b": "nproc is GNU's: getconf _NPROCESSORS_ONLN",
    r"\b(sha\d+|md5)sum\b": "macOS has no sha256sum",
    r"\b(readlink|date|stat)\s+-": "readlink, date and stat take other options on macOS",
    r"\bmktemp\b(?! (-d )?\S*XXX)": 'mktemp takes a template everywhere: mktemp "${TMPDIR:-/tmp}/name.XXXXXX"',
    r"\bgrep\s+-\w*P|\b(head|tail)\s+-n\s*-": "grep -P and head -n -1 are GNU's",
    r"\b(ls|cp|rm|sort|grep|find|tr|wc|ps)\b[^|;]*\s--\w": "long options are GNU's",
    r"\b(tac|timeout|realpath|seq|setsid|flock)\b\s": "not on every macOS",
}
TOOLS = "basename bash cat dirname env ls mkdir ps rm sh tail tr wc"


def code(script: Path) -> list[str]:
    return [re.sub(r"(^|\s)#.*", "", line) for line in script.read_text().splitlines()]


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_nothing_that_bash_3_or_macos_lacks_is_used(script: Path):
    lines = enumerate(code(script), 1)
    found = [f"{i}: {line}: {REFUSED[p]}" for i, line in lines for p in REFUSED if re.search(p, line)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda p: f"{p.parent.name}/{p.name}")
def test_an_array_that_may_be_empty_is_guarded(script: Path):
    """Under set -u, bash before 4.4 takes an empty array for an unbound variable."""
    text = "\n".join(code(script))
    for name in set(re.findall(r"(\w+)=\(\)", text)):
        bare = re.sub(rf'\$\{{{name}\[@\]\+"\$\{{{name}\[@\]\}}"\}}', "", text)
        assert f"${{{name}[@]}}" not in bare, f'write ${{{name}[@]+"${{{name}[@]}}"}}'


@pytest.fixture
def posix(tmp_path: Path) -> str:
    """A PATH with POSIX tools alone; sed knows no GNU extensions."""
    folder = tmp_path / "posix tools"
    folder.mkdir()
    for tool in TOOLS.split():
        (folder / tool).symlink_to(shutil.which(tool))
    gnu = "GNU" in subprocess.run(["sed", "--version"], capture_output=True, text=True).stdout
    (folder / "sed").write_text(f'#!/bin/sh\nexec {shutil.which("sed")} {"--posix" if gnu else ""} "$@"\n')
    (folder / "sed").chmod(0o755)
    return str(folder)


def test_posix_tools_are_enough(checkout: Path, posix: str, asked: Path):
    for script in ("base2new.sh", "ablation.sh", "figures.sh", "base2new_train.sh"):
        done = bash(checkout, f"scripts/ship/{script}", "miniworld", "1", PYTHON=str(asked), PATH=posix, OPTS="A 1")
        assert done.returncode == 0 and done.stderr == ""
    assert calls(checkout).count("--opts") == 4


def alive(process: str) -> bool:
    state = subprocess.run(["ps", "-o", "stat=", "-p", process], capture_output=True, text=True).stdout.strip()
    return bool(state) and not state.startswith("Z")


def wait_until(holds: Callable[[], bool], seconds: float) -> bool:
    end = time.monotonic() + seconds
    while not holds() and time.monotonic() < end:
        time.sleep(0.1)
    return holds()


def test_interrupted_it_ends_its_runs_and_exits_130(checkout: Path):
    (checkout / "train.py").write_text(
        "import os, time\nprint(os.getpid(), file=open('calls.txt', 'a'))\ntime.sleep(60)\n"
    )
    (checkout / "calls.txt").touch()
    env = {**os.environ, "PYTHON": sys.executable, "PYTHONPATH": str(REPOSITORY), "JOBS": "2", "METHODS": "CoOp"}
    command = ["bash", checkout / "scripts/ship/base2new.sh", "miniworld", "1", "2", "3"]

    def interruptible() -> None:  # a suite that was started in the background has SIGINT ignored, and hands that on
        signal.signal(signal.SIGINT, signal.SIG_DFL)

    with subprocess.Popen(
        command, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True, preexec_fn=interruptible
    ) as process:
        assert wait_until(lambda: len(calls(checkout)) == 2, 60)
        time.sleep(0.5)
        runs = calls(checkout)
        process.send_signal(signal.SIGINT)  # to the script alone
        printed = process.communicate(timeout=30)[0]
    assert process.returncode == 130 and "Interrupted; run the same command to go on" in printed
    assert len(runs) == 2  # JOBS at once
    assert wait_until(lambda: not any(map(alive, runs)), 10)
