"""How command lines end: with a sentence, with a traceback, or without a word."""

import subprocess
import sys

import pytest

from shipclip.errors import READER_GONE, UserError, told

LISTING = """
import sys
from shipclip.errors import told

@told
def main():
    sys.stdin.read()  # until the reader has gone
    print("a line")
    return 0

sys.exit(main())
"""


def test_a_reader_that_has_gone_ends_a_command_without_a_word():
    command = [sys.executable, "-c", LISTING]
    with subprocess.Popen(command, stdin=-1, stdout=-1, stderr=-1, text=True) as process:
        process.stdout.close()
        process.stdin.close()
        assert process.stderr.read() == ""
        assert process.wait(60) == READER_GONE


@pytest.mark.parametrize(
    "error", [BrokenPipeError(32, "Broken pipe"), UserError("there is no folder a:\n give another")]
)
def test_what_a_user_can_mend_is_one_sentence(error: Exception, capfd: pytest.CaptureFixture):
    @told
    def main() -> int:
        raise error

    assert main() == 2  # a pipe to anything else than the reader is told as well
    out, err = capfd.readouterr()
    assert (out, err) == ("", f"error: {' '.join(str(error).split())}\n")


def test_a_bug_keeps_its_traceback():
    @told
    def main() -> int:
        raise ValueError("ours")

    with pytest.raises(ValueError, match="ours"):
        main()
