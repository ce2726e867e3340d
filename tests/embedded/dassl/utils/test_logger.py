import sys

import pytest
from dassl.utils import Logger, setup_logger


class Console:
    """What has gone to the console since the test began."""

    def __init__(self, capsys: pytest.CaptureFixture):
        self.capsys, self.text = capsys, ""

    def getvalue(self) -> str:
        self.text += self.capsys.readouterr().out
        return self.text


@pytest.fixture
def console(capsys: pytest.CaptureFixture) -> Console:
    return Console(capsys)


def test_output_goes_to_console_and_file(console, tmp_path):
    setup_logger(str(tmp_path / "run"))
    print("épreuve")
    assert console.getvalue() == "épreuve\n"
    assert (tmp_path / "run" / "log.txt").read_text(encoding="utf-8") == "épreuve\n"


def test_a_finished_line_is_in_the_file_without_a_flush(console, tmp_path):
    setup_logger(str(tmp_path))
    sys.stdout.write("first\nsecond")
    assert (tmp_path / "log.txt").read_text().startswith("first\n")


def test_a_second_run_continues_the_log(console, tmp_path):
    for text in ("begun", "resumed"):
        setup_logger(str(tmp_path))
        print(text)
    assert (tmp_path / "log.txt").read_text() == "begun\nresumed\n"
    assert console.getvalue() == "begun\nresumed\n"
    assert [file.name for file in tmp_path.iterdir()] == ["log.txt"]


def test_another_runs_log_is_left_alone(console, tmp_path):
    for name in ("a.txt", "b.log"):
        setup_logger(str(tmp_path / name))
        print(name)
    assert (tmp_path / "a.txt").read_text() == "a.txt\n"
    assert (tmp_path / "b.log").read_text() == "b.log\n"


def test_without_an_output_nothing_changes(console):
    before = sys.stdout
    setup_logger(None)
    assert sys.stdout is before


def test_the_logger_answers_like_its_console(capfd, tmp_path):
    logger = Logger(str(tmp_path / "log.txt"))
    assert logger.isatty() is False
    assert logger.encoding == sys.stdout.encoding
    assert logger.fileno() == sys.stdout.fileno()


def test_closing_the_log_leaves_the_console_open(console, tmp_path):
    with Logger(str(tmp_path / "log.txt")) as logger:
        logger.write("a")
    logger.write("b")
    assert console.getvalue() == "ab"
    assert (tmp_path / "log.txt").read_text() == "a"
