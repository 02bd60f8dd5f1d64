"""Writes the tables and the picture of a soak."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from bench.soak.drift import FEWEST, Drift, Slope, drift, line, verdict

WARM = 1 / 13
"""Share of a run, at its start, that slopes are computed without: five minutes of 65."""
MIB = 2**20
COLUMNS = 4
"""Diagrams side by side in the picture."""


@dataclass(frozen=True)
class Kind:
    """How a quantity is shown and judged."""

    unit: str
    scale: float
    """how many of the samples' units make one `unit`"""
    least: float
    """change per hour, in the samples' units, up to which it counts as flat"""
    fold: Callable[[np.ndarray], float] = np.mean
    """makes one value of the samples of a block"""


COUNT, BYTES, HEAP = Kind("", 1, 1), Kind("MiB", MIB, MIB), Kind("MiB", MIB, MIB, np.min)
KINDS = {
    "threads": COUNT,
    "descriptors": COUNT,
    "files": COUNT,
    "in_flight": COUNT,
    "rss": BYTES,
    "bytes": BYTES,
}
NAMES = {
    "java_threads": "Java, threads",
    "java_descriptors": "Java, descriptors",
    "java_rss": "Java, resident memory",
    "shared_bytes": "shared memory, bytes",
    "shared_files": "shared memory, files",
    "in_flight": "clips in flight",
    "in_flight_bytes": "their bytes",
    "folder_bytes": "the server's folder without its logs",
    "log_bytes": "its logs (bounded: 50 MB, and five of them compressed, of each kind)",
    "client_threads": "this process, its callers: threads",
    "client_descriptors": "this process: descriptors",
    "client_rss": "this process: resident memory",
}
OF_WORKERS = {"threads": "threads", "descriptors": "descriptors", "rss": "resident memory"}


@dataclass(frozen=True)
class Series:
    """One quantity over the run; `times` are in seconds since it began."""

    name: str
    kind: Kind
    times: list[float]
    values: list[float]


def kind_of(key: str) -> Kind:
    return KINDS[key] if key in KINDS else KINDS[key.rsplit("_", 1)[1]]


def of_the_run(found: dict[str, Any]) -> list[Series]:
    """Series from the beginning to the end of the run: Java, the folders, and the workers that are never killed."""
    rows = found["samples"]
    times = [row["at_s"] for row in rows]
    made = [Series(name, kind_of(key), times, [row[key] for row in rows]) for key, name in NAMES.items()]
    made.insert(3, Series("Java, heap after a collection", HEAP, *_columns(found["heap"])))
    for pid in found["spared"]:
        own = [(row["at_s"], worker) for row in rows for worker in row["workers"] if worker["pid"] == pid]
        if own:
            made += [
                Series(
                    f"{own[0][1]['model']}, the worker that is spared: {name}",
                    KINDS[key],
                    [at for at, _ in own],
                    [worker[key] for _, worker in own],
                )
                for key, name in OF_WORKERS.items()
            ]
    return made


def of_one_age(found: dict[str, Any]) -> list[Series]:
    """Series with one value per worker that might be killed: its mean between half the interval of kills and all of it.

    That age is the same for all of them, so that a trend shows growth from one worker to the next.
    """
    old = found["settings"]["kill_every"]
    of: dict[tuple[str, int], list[tuple[float, dict[str, Any]]]] = defaultdict(list)
    for row in found["samples"]:
        for worker in row["workers"]:
            if worker["pid"] not in found["spared"] and old / 2 <= worker["age_s"] <= old:
                of[worker["model"], worker["pid"]].append((row["at_s"], worker))
    made = []
    for model in sorted({model for model, _ in of}):
        lives = [rows for (own, _), rows in of.items() if own == model]
        for key, name in OF_WORKERS.items():
            times = [float(np.mean([at for at, _ in rows])) for rows in lives]
            values = [float(np.mean([worker[key] for _, worker in rows])) for rows in lives]
            made.append(Series(f"{model}, {len(lives)} workers of one age: {name}", KINDS[key], times, values))
    return made


def judged(found: dict[str, Any]) -> list[tuple[Series, Drift]]:
    """Each series with its drift; series that are too short are left out."""
    begin = WARM * 60 * found["minutes"]
    made = []
    for series in of_the_run(found):
        kept = [(at, value) for at, value in zip(series.times, series.values, strict=True) if at >= begin]
        did = drift(*_columns(kept), series.kind.least, series.kind.fold)
        if did:
            made.append((series, did))
    for series in of_one_age(found):
        if len(series.times) >= FEWEST:
            slope = line(series.times, series.values, correlated=False)
            made.append((series, Drift(slope, None, verdict(slope, least=series.kind.least))))
    return made


def _columns(rows: list[Any]) -> tuple[list[float], list[float]]:
    return [row[0] for row in rows], [row[1] for row in rows]


def write(path: Path, found: dict[str, Any]) -> None:
    """Write `path` with .json, .md and .png."""
    path.with_suffix(".json").write_text(json.dumps(found) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")
    draw(path.with_suffix(".png"), found)


def markdown(found: dict[str, Any]) -> str:
    """The report: calls and answers, kills, and the drift of each series."""
    record, settings, of = found["record"], found["settings"], found["machine"]
    taken = sorted(each for all_ in record["good"].values() for each in all_)
    faults = len(record["faults"])
    lines = [
        f"{of['cpu']}, {of['cores']} cores, {of['date']}: {found['minutes']:.0f} minutes, {settings['rate']:g} calls "
        f"per second at random times, a worker killed every {settings['kill_every']:g} s.{_cores(found)}",
        "",
        f"**{faults} fault{'s' * (faults != 1)}.** {len(taken)} good calls were answered right"
        + (f" (median {_at(taken, 50):.2f} s, p95 {_at(taken, 95):.2f} s, longest {taken[-1]:.0f} s)" if taken else "")
        + f", {sum(count for _, _, count in record['answers'])} rude ones came to an end; {len(record['kills'])} "
        f"workers were killed, and others ready in their place after {_back(record['kills'])}; {record['left_out']} "
        "calls were not made since too many were under way.",
        "",
        *_table(("good call", "answered right", "median, s", "p95, s", "longest, s"), _good(record)),
        "",
        "Attempts that failed, and were repeated:",
        "",
        *_table(("answer", "reason", "attempts"), [[*map(str, row)] for row in record["troubles"]]),
        "",
        "Calls that need not succeed:",
        "",
        *_table(("call", "what came", "calls"), [[*map(str, row)] for row in record["answers"]]),
        "",
        "Growth per hour, with the 95 % confidence interval, without the first "
        f"{60 * WARM * found['minutes']:.0f} s; `settles`: it grew, but not in the second half.",
        "",
        *_table(("series", "mean", "per hour", "95 %", "second half, per hour", "verdict"), _drifts(found)),
    ]
    if record["faults"]:
        told = [[f"{each['at_s']:.0f}", each["what"], each["text"].replace("|", "/")] for each in record["faults"]]
        lines += ["", "Faults:", "", *_table(("after, s", "what", "text"), told)]
    return "\n".join(lines) + "\n"


def _good(record: dict[str, Any]) -> list[list[str]]:
    return [
        [what, str(len(taken)), f"{_at(taken, 50):.2f}", f"{_at(taken, 95):.2f}", f"{taken[-1]:.1f}"]
        for what, taken in record["good"].items()
    ]


def _drifts(found: dict[str, Any]) -> list[list[str]]:
    rows = []
    for series, did in judged(found):
        unit, scale = series.kind.unit, series.kind.scale

        def per_hour(slope: Slope, scale: float = scale) -> str:
            return f"{slope.per_hour / scale:+.2f}"

        interval = f"{did.whole.low / scale:+.2f} to {did.whole.high / scale:+.2f}"
        mean = f"{did.whole.mean / scale:.1f} {unit}".strip()
        late = per_hour(did.late) if did.late else ""
        rows.append([series.name, mean, per_hour(did.whole), interval, late, did.verdict])
    return rows


def draw(path: Path, found: dict[str, Any]) -> None:
    """Draw each series over the minutes of the run, with a tick where a worker was killed."""
    import matplotlib  # here, since it takes a second to import

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    drawn = [*of_the_run(found), *of_one_age(found)]
    rows = -(-len(drawn) // COLUMNS)
    figure, axes = plt.subplots(rows, COLUMNS, figsize=(4 * COLUMNS, 2 * rows))
    figure.subplots_adjust(0.03, 0.5 / (2 * rows), 0.99, 1 - 0.6 / (2 * rows), wspace=0.2, hspace=0.55)
    kills = [kill["at_s"] / 60 for kill in found["record"]["kills"]]
    for axis, series in zip(axes.flat, drawn, strict=False):
        minutes, values = np.asarray(series.times) / 60, np.asarray(series.values) / series.kind.scale
        axis.plot(minutes, values, "." if "of one age" in series.name else "-", color="#1f4e79", linewidth=0.9)
        axis.plot(kills, [0] * len(kills), "|", color="#b5651d", markersize=5, transform=axis.get_xaxis_transform())
        axis.set_title(f"{series.name.split(' (')[0]}{', ' if series.kind.unit else ''}{series.kind.unit}", fontsize=7)
        axis.tick_params(labelsize=7)
        axis.margins(y=0.2)
        axis.spines[["top", "right"]].set_visible(False)
    for axis in axes.flat[len(drawn) :]:
        axis.set_visible(False)
    of = found["machine"]
    figure.supxlabel("minutes; ticks: a worker is killed", fontsize=8)
    figure.suptitle(f"{of['cpu']}, {of['cores']} cores, {of['date']}", fontsize=8)
    figure.savefig(path, dpi=80)
    plt.close(figure)


def _cores(found: dict[str, Any]) -> str:
    """The cores that the server and its callers used, as a sentence.

    Intervals between samples in which a worker died are left out: its time is no longer known.
    """
    rows = found["samples"]
    steps = [(a, b) for a, b in itertools.pairwise(rows) if b["server_cpu_s"] >= a["server_cpu_s"]]
    seconds = sum(b["at_s"] - a["at_s"] for a, b in steps)
    if not seconds:
        return ""
    server, client = (sum(b[key] - a[key] for a, b in steps) / seconds for key in ("server_cpu_s", "client_cpu_s"))
    return f" The server used {server:.2f} of a core, its callers {client:.2f}."


def _back(kills: list[dict[str, Any]]) -> str:
    after = sorted(kill["back_s"] - kill["at_s"] for kill in kills if kill["back_s"] is not None)
    return f"{_at(after, 50):.1f} s (median; longest {after[-1]:.1f} s)" if after else "no time that is known"


def _at(in_order: list[float], part: int) -> float:
    return in_order[min(len(in_order) - 1, len(in_order) * part // 100)]


def _table(heads: tuple[str, ...], rows: list[list[str]]) -> list[str]:
    cells = [list(heads), ["---"] * len(heads), *rows]
    return ["| " + " | ".join(row) + " |" for row in cells]
