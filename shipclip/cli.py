"""The command line: fit, predict, what comes after, and what makes tables and pictures of runs.

shipclip fit PHOTOS -o MODEL [--learner NAME|auto] [--reject 0.05] ...
shipclip predict MODEL IMAGES... [--top 5] [--csv FILE]
shipclip classes MODEL [--add NAME ... | --remove NAME ... | --rename OLD NEW | --texts FILE]
shipclip export MODEL -o FOLDER [--format onnx|torch|safetensors]
shipclip demo MODEL           a page on this machine, to try a model by hand
shipclip unknown MODEL --known PHOTOS --unknown PHOTOS
                              how well known images are told from unknown ones
shipclip run EXPERIMENT ...    whole experiments: many data sets, methods and seeds
shipclip report OUTPUT        tables of any tree of results
shipclip compare OUTPUT       which differences between methods are real
shipclip figures PICTURE ...  pictures of runs and models
shipclip interpret ...        the words nearest to SHIP's prompts
shipclip encode NAME          encode a data set's images ahead of all runs; by as many processes and hosts as there are
shipclip check NAME ...       what is missing or damaged in a data set; with --features doubles, doubtful labels ...
shipclip prepare NAME ...     fetch a data set
"""

from __future__ import annotations

import argparse
import sys
from importlib import import_module

from .errors import told
from .machine import keep_memory, leave_quickly

COMMANDS = ("fit", "predict", "classes", "export", "demo", "unknown", "encode", "run")  # files of commands/
# Commands with a command line of their own, imported when asked for: torch is slow to import.
MODULES = {
    "report": "reporting.report",
    "compare": "reporting.compare",
    "figures": "reporting.figures",
    "interpret": "reporting.interpret",
    "check": "data.check",
    "prepare": "data.prepare",
}


@told
def main(argv: list[str] | None = None) -> int:
    """Returns the exit status: 0, or 2 after a mistake that one sentence can name."""
    argv = sys.argv[1:] if argv is None else argv
    leave_quickly()
    keep_memory()
    if argv and argv[0] in MODULES:
        return import_module(f"shipclip.{MODULES[argv[0]]}").main(argv[1:])
    args = parser().parse_args(argv)
    return args.run(args)


def parser() -> argparse.ArgumentParser:
    whole = argparse.ArgumentParser(
        "shipclip", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = whole.add_subparsers(dest="command", required=True, metavar="command")
    for name in COMMANDS:
        command = import_module(f"shipclip.commands.{name}")
        own = commands.add_parser(name, help=command.HELP, description=command.__doc__)
        command.arguments(own)
        own.set_defaults(run=command.run)
    for name in MODULES:
        commands.add_parser(name, add_help=False)
    return whole
