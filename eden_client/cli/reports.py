"""How a run is reported: a progress bar on a terminal, plain lines elsewhere, or JSON for programs."""

from __future__ import annotations

import json
import sys
import time
from dataclasses import asdict
from typing import Any, Protocol

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from eden_client.film.order import Report, Summary
from eden_client.film.read.sources import PIPE
from eden_client.film.stages import Stage

EVERY = 5.0
"""Seconds between plain lines."""
OFTEN = 0.25
"""Seconds between two `progress` events as JSON; the first drawn frame is told at once."""


class ProgressReporter(Report, Protocol):
    """A report of a run, with its end."""

    def done(self, summary: Summary) -> None:
        """The result is complete and in its place."""

    def failed(self, message: str, reason: str) -> None:
        """The run failed. `message`: one line, with what to do; `reason`: the part of it that says why."""


class Bar:
    """A progress bar with rate and time left, on standard error."""

    def __init__(self, console: Console | None = None) -> None:
        self._console = console or Console(stderr=True)
        self._progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]:5.1f} frames/s{task.fields[limit]}"),
            TimeRemainingColumn(),
            console=self._console,
        )
        self._task = TaskID(0)
        self._started, self._before = time.monotonic(), 0

    def begin(self, source: str, expected: int | None, done: int) -> None:
        self._started, self._before = time.monotonic(), done
        self._task = self._progress.add_task(source, total=expected, completed=done, rate=0.0, limit="")
        self._progress.start()

    def note(self, text: str) -> None:
        self._console.print(f"[yellow]note[/] {escape(text)}", highlight=False, soft_wrap=True)

    def progress(self, frames: int, limit: Stage | None, drawn: bool) -> None:
        rate = (frames - self._before) / max(time.monotonic() - self._started, 1e-6)
        self._progress.update(self._task, completed=frames, rate=rate, limit=_limited(limit))

    def done(self, summary: Summary) -> None:
        self._progress.update(self._task, total=summary.frames_out, completed=summary.frames_out)
        self._progress.stop()
        self._console.print(told(summary), style="green", highlight=False, markup=False, soft_wrap=True)

    def failed(self, message: str, reason: str) -> None:
        self._progress.stop()
        self._console.print(message, style="red", highlight=False, markup=False, soft_wrap=True)


class Lines:
    """A line every few seconds on standard error. `name`: the film's, where several are made."""

    def __init__(self, name: str = "") -> None:
        self._name = f"[{name}] " if name else ""
        self._expected: int | None = None
        self._next = 0.0

    def begin(self, source: str, expected: int | None, done: int) -> None:
        self._expected = expected
        of = f" of about {expected}" if expected else ""
        self._say(f"{source}: {done}{of} frames were made already" if done else f"{source}: making{of} frames")
        self._next = time.monotonic() + EVERY

    def note(self, text: str) -> None:
        self._say(f"note: {text}")

    def progress(self, frames: int, limit: Stage | None, drawn: bool) -> None:
        if time.monotonic() >= self._next:
            self._next = time.monotonic() + EVERY
            of = f" of about {self._expected}" if self._expected else ""
            self._say(f"{frames}{of} frames{_limited(limit)}")

    def done(self, summary: Summary) -> None:
        self._say(told(summary))

    def failed(self, message: str, reason: str) -> None:
        self._say(message)

    def _say(self, line: str) -> None:
        sys.stderr.write(f"{self._name}{line}\n")  # at once: several threads have something to say
        sys.stderr.flush()


class Json(Lines):
    """Plain lines meanwhile, and one JSON object at the end: on standard output, unless the film itself goes there."""

    def __init__(self, target: str, name: str = "") -> None:
        super().__init__(name)
        self._stream = sys.stderr if target == PIPE else sys.stdout

    def of(self, name: str) -> Json:
        """A reporter for one film of several, which prints an object of its own."""
        one = Json(PIPE, name)
        one._stream = self._stream
        return one

    def done(self, summary: Summary) -> None:
        print(json.dumps(asdict(summary)), file=self._stream, flush=True)

    def failed(self, message: str, reason: str) -> None:
        super().failed(message, reason)
        print(json.dumps({"error": message}), file=self._stream, flush=True)


class JsonLines:
    """Every event as one JSON object per line (`event` names it), on the stream that `Json` uses."""

    def __init__(self, target: str) -> None:
        self._stream = sys.stderr if target == PIPE else sys.stdout
        self._next, self._drawn = 0.0, False

    def begin(self, source: str, expected: int | None, done: int) -> None:
        self._say("begin", source=source, expected=expected, frames=done)

    def note(self, text: str) -> None:
        self._say("note", text=text)

    def progress(self, frames: int, limit: Stage | None, drawn: bool) -> None:
        if time.monotonic() >= self._next or drawn != self._drawn:
            self._next, self._drawn = time.monotonic() + OFTEN, drawn
            self._say("progress", frames=frames, limit=limit, drawn=drawn)

    def done(self, summary: Summary) -> None:
        self._say("done", **asdict(summary))

    def failed(self, message: str, reason: str) -> None:
        self._say("failed", error=message, reason=reason)

    def _say(self, event: str, **told: Any) -> None:
        self._stream.write(json.dumps({"event": event, **told}) + "\n")  # at once: several threads say something
        self._stream.flush()


LIMITS: dict[Stage, str] = {
    "reading": "reading INPUT: a faster disk, or a source that is easier to decode",
    "server": "the server: more workers or GPUs there, or more calls at once (--window) if it is not fully used",
    "encoding": "encoding: a faster --preset, where the encoder has presets, or another --codec",
}
"""What bounds the speed, and what would raise it."""
LIMIT_OF_PIPE = "whatever reads the frames from standard output"


def _limited(limit: Stage | None) -> str:
    """The stage that bounds the speed so far, as words to follow a rate."""
    return f", limited by {'the server' if limit == 'server' else limit}" if limit else ""


def told(summary: Summary) -> str:
    """What was done, and on a second line what bounded the speed."""
    seconds = summary.seconds["total"]
    made = summary.frames_out - summary.resumed_at
    repeated = "".join(f", {count} at a {reason}" for reason, count in summary.repeated.items() if count)
    return (
        f"{summary.target}: {summary.frames_out} frames from {summary.frames_in} in {seconds:.1f} s "
        f"({made / seconds:.1f} per second{_firsts(summary)}{repeated}){_hint(summary)}"
    )


def _firsts(summary: Summary) -> str:
    """When the first frame was made, and the first drawn one; empty where none was made or drawn in this run."""
    names = {"to_first_frame": "the first", "to_first_new_frame": "the first new one"}
    return "".join(
        f", {name} after {summary.seconds[key]:.1f} s" for key, name in names.items() if key in summary.seconds
    )


def _hint(summary: Summary) -> str:
    if summary.limit is None:
        return ""
    limit = LIMIT_OF_PIPE if (summary.limit, summary.target) == ("encoding", PIPE) else LIMITS[summary.limit]
    return f"\nlimited by {limit} ({summary.busy[summary.limit]:.0%} of its time at work)"
