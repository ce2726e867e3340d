"""Where a run's time goes, for --profile: seconds and rates of its parts, the share of the matrix peak, memory, traces.

Parts do not overlap: images are read, pass the image tower, synthetic features are made between the steps of stage 2,
prompts pass the text tower, gradients come back, the optimiser steps; what is left is `other`. On a GPU each part waits
for the device at both of its ends, and the floating point operations are counted in the first step of each size, so a
run that is looked at takes longer than another.
"""

from __future__ import annotations

import ctypes
import json
import math
import os
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any, TypeVar

import torch
from tabulate import tabulate

from .errors import first_line
from .files import replacing, write_json, write_text

FOLDER = "profile"  # in a run's folder
PARTS = {  # in the order of a run, with what they work on
    "decoding": "images",
    "encoding": "images",
    "synthesis": "samples",
    "text": "prompts",
    "backward": "steps",
    "optimiser": "steps",
}
EVENTS = 200_000  # in a trace; a browser shows no more
FIRST, LAST = 3, 6  # steps of a stage whose operators are traced
Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass
class Tally:
    """Of a part, or of a stage's steps.

    Attributes:
        seconds, count: in all.
        flop, timed: floating point operations, and the seconds of the calls that they are of.
    """

    seconds: float = 0.0
    count: int = 0
    flop: int = 0
    timed: float = 0.0

    def figures(self, unit: str, peak: float) -> dict[str, float]:
        """What is told of it: of so many units (images, prompts, steps), beside a matrix peak in FLOP/s."""
        share = {"of_peak": self.flop / self.timed / peak} if self.timed and self.flop else {}
        return {"seconds": self.seconds, unit: self.count, "per_second": self.count / self.seconds, **share}


@dataclass
class Profile:
    """What is known of a run so far.

    Attributes:
        folder: of the traces.
        device: where the run computes.
        parts, stages: by name.
        own: seconds that looking has taken, which are no part of the run.
    """

    folder: Path
    device: torch.device
    began: float = field(default_factory=time.perf_counter)
    parts: dict[str, Tally] = field(default_factory=dict)
    stages: dict[str, Tally] = field(default_factory=dict)
    own: float = 0.0
    events: list[tuple[str, float, float]] = field(default_factory=list)  # name, start, seconds
    inside: str = ""  # the part at hand
    stage: str = ""  # the stage at hand
    counting: bool = False
    flop: dict[Any, int] = field(default_factory=dict)
    operators: torch.profiler.profile | None = None

    @contextmanager
    def part(self, name: str, count: int, key: Any = None) -> Iterator[None]:
        if self.inside:  # the outer one's
            yield
            return
        self.inside = name
        try:
            with self._timed(self.parts.setdefault(name, Tally()), name, count, key):
                yield
        finally:
            self.inside = ""

    @contextmanager
    def in_stage(self, name: str) -> Iterator[None]:
        self.stage = name
        try:
            yield
        finally:
            self._keep_operators()  # of a stage of few steps
            self.stage = ""

    @contextmanager
    def step(self, size: int) -> Iterator[None]:
        name = self.stage
        tally = self.stages.setdefault(name, Tally())
        if tally.count + 1 == FIRST:
            self._trace_operators()
        with self._timed(tally, f"{name} step", 1, (name, size)):
            yield
        if tally.count == LAST:
            self._keep_operators()

    @contextmanager
    def _timed(self, tally: Tally, name: str, count: int, key: Any) -> Iterator[None]:
        found: list[int] | None = None
        entered, seconds = time.perf_counter(), 0.0
        with ExitStack() as watching:
            if key is not None and key not in self.flop and self.operators is None and not self.counting:
                found = watching.enter_context(counted())
                self.counting = True
            synchronise(self.device)
            start = time.perf_counter()
            try:
                yield
            finally:
                synchronise(self.device)
                seconds = time.perf_counter() - start
                tally.seconds, tally.count = tally.seconds + seconds, tally.count + count
                if len(self.events) < EVENTS:
                    self.events.append((name, start - self.began, seconds))
                if found is not None:
                    self.counting = False
        if found is not None:
            self.flop[key] = found[0]
            self.own += time.perf_counter() - entered - seconds
        elif key in self.flop:
            tally.flop, tally.timed = tally.flop + self.flop[key], tally.timed + seconds

    # -- traces -----------------------------------------------------------------------------------------

    def _trace_operators(self) -> None:
        start = time.perf_counter()
        self.operators = operators()
        self.operators.start()
        self.own += time.perf_counter() - start

    def _keep_operators(self) -> None:
        if self.operators is None:
            return
        start, watched, self.operators = time.perf_counter(), self.operators, None
        watched.stop()
        with replacing(self.folder / f"operators_{self.stage}.json") as temporary:
            watched.export_chrome_trace(str(temporary))
        self.own += time.perf_counter() - start

    def close(self) -> None:
        """Traces as chrome://tracing and ui.perfetto.dev read them, figures, and the table."""
        total = time.perf_counter() - self.began - self.own
        row = {"ph": "X", "pid": 1, "tid": 1}
        events = [{"name": name, "ts": 1e6 * at, "dur": 1e6 * long, **row} for name, at, long in self.events]
        write_text(self.folder / "trace.json", json.dumps({"traceEvents": events, "displayTimeUnit": "ms"}))
        figures = self.figures(total)
        write_json(self.folder / "profile.json", figures)
        print(f"\n{told(figures)}\nTraces for chrome://tracing or ui.perfetto.dev are in {self.folder}")

    def figures(self, total: float) -> dict[str, Any]:
        memory = peak_memory(self.device)  # before the products that come now
        peak, of_part = matrix_peak(self.device), {}
        parts = {name: self.parts[name] for name in PARTS if name in self.parts}
        other = total - sum(tally.seconds for tally in parts.values())
        for name, tally in parts.items():
            of_part[name] = {"share": tally.seconds / total, **tally.figures(PARTS[name], peak)}
        stages = {name: tally.figures("steps", peak) for name, tally in self.stages.items()}
        return {
            "seconds": total,
            "parts": of_part | {"other": {"seconds": other, "share": other / total}},
            "stages": stages,
            "matrix_peak_gflops": peak / 1e9,
            "peak_memory_mib": None if math.isnan(memory) else memory,
            "device": torch.cuda.get_device_name(self.device) if self.device.type == "cuda" else threads(),
            "looking_took_seconds": self.own,
        }


def threads() -> str:
    count = torch.get_num_threads()
    return f"{count} CPU thread{'s' * (count > 1)}"


def told(figures: dict[str, Any]) -> str:
    """The figures as a table."""
    rows = []
    for name, part in figures["parts"].items():
        unit = PARTS.get(name, "")
        rate = f"{part['per_second']:,.0f} {unit}/s" if unit else ""
        count = f"{part[unit]:,} {unit}" if unit else ""
        rows.append([name, f"{part['seconds']:.2f}", f"{100 * part['share']:.0f}%", count, rate, shown(part)])
    for name, stage in figures["stages"].items():
        count, rate = f"{stage['steps']:,} steps", f"{stage['per_second']:,.1f} steps/s"
        rows.append([f"all of {name}'s steps", f"{stage['seconds']:.2f}", "", count, rate, shown(stage)])
    head = ["part", "s", "share", "what", "rate", "of the matrix peak"]
    table = tabulate(rows, head, disable_numparse=True, colalign=("left", "right", "right", "right", "right", "right"))
    held, own = figures["peak_memory_mib"], figures["looking_took_seconds"]
    memory = "" if held is None else f", with at most {held:,.0f} MiB"
    return (
        f"{table}\n{figures['seconds']:.2f} s on {figures['device']}, whose matrix peak is "
        f"{figures['matrix_peak_gflops']:,.0f} GFLOP/s (float32){memory}; looking took {own:.1f} s more"
    )


def shown(figures: dict[str, float]) -> str:
    return f"{figures['of_peak']:.2f}" if "of_peak" in figures else ""


# -- what is looked at: no-ops where no run is profiled --------------------------------------------------------

_running: list[Profile] = []


@contextmanager
def profiled(folder: str | Path, device: torch.device | str = "cpu") -> Iterator[None]:
    """Look at what happens inside, and tell it at the end, also of an error's.

    Args:
        folder: of the figures and traces; empty: do not look.
        device: where the run computes.

    Raises:
        Unwritable: the folder cannot be made. What cannot be written at the end is a notice: the run is done by then.
    """
    if not str(folder):
        yield
        return
    with replacing(Path(folder) / "profile.json") as probe:
        probe.write_text("{}\n")
    profile = Profile(Path(folder), torch.device(device))
    peak_memory(profile.device, reset=True)
    _running.append(profile)
    try:
        yield
    finally:
        _running.remove(profile)
        try:
            profile.close()
        except (OSError, torch.OutOfMemoryError) as error:
            print(f"Note: where the time went cannot be told ({first_line(error)})")


def part(name: str, count: int, key: Any = None) -> AbstractContextManager[None]:
    """A part of a run, one of PARTS.

    Args:
        count: of what it works on: images, prompts, steps.
        key: what its floating point operations hang on (a shape); None: they are not counted.
    """
    return _running[-1].part(name, count, key and (name, key)) if _running else nullcontext()


def a_part(
    name: str, count: Callable[[Any], int] = len, key: Callable[[Any], Any] = lambda given: None
) -> Callable[[Callable[..., Result]], Callable[..., Result]]:
    """Decorates a method that is a part. Of its first argument `count` is what it works on, and `key` as in `part`; a
    run that is not profiled asks for neither: where a tower is exported, they would be constants of it."""

    def decorated(method: Callable[..., Result]) -> Callable[..., Result]:
        @wraps(method)
        def profiled_method(self: Any, given: Any, *args: Any, **further: Any) -> Result:
            if not _running:
                return method(self, given, *args, **further)
            with part(name, count(given), key(given)):
                return method(self, given, *args, **further)

        return profiled_method

    return decorated


def each(name: str, found: Iterable[Item], count: Callable[[Item], int]) -> Iterator[Item]:
    """What an iterable gives, the waiting for it as a part."""
    if not _running:
        yield from found
        return
    iterator = iter(found)
    while True:
        with part(name, 0):
            item = next(iterator, iterator)  # type: ignore[arg-type]  itself: there is no more
        if item is iterator:
            return
        if _running and not _running[-1].inside:
            _running[-1].parts[name].count += count(item)
        yield item


def stage(name: str) -> AbstractContextManager[None]:
    """A stage of training, whose steps are told apart from another's."""
    return _running[-1].in_stage(name) if _running else nullcontext()


def step(size: int) -> AbstractContextManager[None]:
    """An update of the stage on a batch of that size."""
    return _running[-1].step(size) if _running else nullcontext()


# -- measuring ----------------------------------------------------------------------------------------------


def synchronise(device: torch.device) -> None:
    """Wait for what a GPU has been told to do."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


PRODUCTS = {"aten::mm": 0, "aten::bmm": 0}  # operator -> which argument is the first factor
PRODUCTS |= {f"aten::{name}": 1 for name in ("addmm", "addmm_", "baddbmm", "baddbmm_")}
KERNELS = ("flash_attention", "efficient_attention", "cudnn_attention", "flash_attention_for_cpu")
ATTENTION = {f"aten::_scaled_dot_product_{kernel}": (2, 0) for kernel in KERNELS}  # matrix products, place of queries
ATTENTION |= {f"{kernel}_backward": (5, 1) for kernel in ATTENTION}  # behind the gradient; scores are made once more
ATTENTION["aten::_scaled_dot_product_fused_attention_overrideable"] = (2, 0)


@contextmanager
def counted() -> Iterator[list[int]]:
    """Count floating point operations of matrix products, attention and convolutions: at the end one number.

    What is counted runs as it does otherwise: torch's own FlopCounterMode takes operators apart, which moves last bits.
    """
    found: list[int] = []
    with operators(record_shapes=True, with_flops=True) as watched:
        yield found
    found.append(sum(flop_of(event) for event in watched.events()))


def flop_of(event: Any) -> int:
    name, shapes = event.name, event.input_shapes
    if name in PRODUCTS:
        a, b = shapes[PRODUCTS[name] :][:2]
        return 2 * math.prod(a) * b[-1]
    if name in ATTENTION:
        products, place = ATTENTION[name]
        q, k = shapes[place:][:2]
        return products * 2 * math.prod(q) * k[-2]
    return int(event.flops or 0) if name == "aten::conv2d" else 0


def operators(**further: bool) -> torch.profiler.profile:
    """What watches operators, on whatever devices there are."""
    os.environ.setdefault("KINETO_LOG_LEVEL", "99")  # it speaks of GPUs that are not there
    kinds = torch.profiler.ProfilerActivity
    return torch.profiler.profile(activities=[kinds.CPU] + [kinds.CUDA] * torch.cuda.is_available(), **further)


def matrix_peak(device: torch.device | str) -> float:
    """FLOP/s of a float32 matrix product, the best of five; on a GPU of a larger one, several times in a row, so that
    starting it takes no time."""
    device = torch.device(device)
    size, times = (8192, 10) if device.type == "cuda" else (2048, 1)
    a, best = torch.randn(size, size, device=device), 0.0
    out = torch.empty_like(a)
    for _ in range(5):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(times):
            torch.mm(a, a, out=out)
        synchronise(device)
        best = max(best, times * 2 * size**3 / (time.perf_counter() - start))
    return best


def peak_memory(device: torch.device | str, reset: bool = False) -> float:
    """Peak of memory in MiB, of the device or of the process (NaN where nobody tells: Linux does); with `reset` what is
    held now, and a new peak begins."""
    device = torch.device(device)
    if device.type == "cuda":
        if reset:
            torch.cuda.init()
            torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.max_memory_allocated(device) / 2**20
    if reset:
        with suppress(OSError, AttributeError, TypeError):
            ctypes.CDLL(None).malloc_trim(0)  # freed memory goes back to the system
        with suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5")
    with suppress(OSError, KeyError, ValueError):
        lines = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 2**10
    return math.nan
