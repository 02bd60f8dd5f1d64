"""Writes the tables and the picture of calls at servers behind HAProxy."""

from __future__ import annotations

import json
import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np

from bench import machine

MOMENT = 1.0
"""Events at most so many seconds apart count as one."""
BIN = 5.0
"""Seconds of calls of which each point of the picture's line is the median."""


def write(out: Path, found: dict[str, Any]) -> None:
    """Write `out` with .json, .md and .png."""
    out.with_suffix(".json").write_text(json.dumps(found) + "\n")
    out.with_suffix(".md").write_text(markdown(found))
    picture(out.with_suffix(".png"), found)


def phases(found: dict[str, Any]) -> list[tuple[str, float, float]]:
    """(the event that began it, start, end) of each phase of the run, in seconds since the run began."""
    times = [0.0, *(at for at, _ in found["happened"]), found["seconds"]]
    names = ["three serve", *(what for _, what in found["happened"])]
    return [each for each in zip(names, times[:-1], times[1:], strict=True) if each[2] - each[1] > MOMENT]


def markdown(found: dict[str, Any]) -> str:
    """The report: what came of the calls, by kind of call and by phase."""
    of_kind = defaultdict(list)
    for _, what, took, wrong in found["calls"]:
        of_kind[what].append((took, wrong))
    failed = [(at, what, wrong) for at, what, _, wrong in found["calls"] if wrong]
    again = found["tried_again_by_eden_client"]
    redispatched = sum(int(row["wredis"]) for row in found["proxy"].values())
    lines = [
        f"{machine.line(found['machine'])}: three servers behind HAProxy, {found['seconds']:.0f} s, frames of "
        f"{found['settings']['frame_size']}.",
        "",
        f"**{len(found['calls'])} calls, {len(failed)} failed**; HAProxy sent {redispatched} to another server, and "
        f"eden_client tried {len(again)} of its own again. Drains that did not finish everything: "
        f"{', '.join(found['unfinished']) or 'none'}.",
        "",
        "| calls | answered | failed | median, s | p95, s | longest, s |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for what, calls in sorted(of_kind.items()):
        good = [took for took, wrong in calls if not wrong] or [0.0]
        row = (f"{value:.2f}" for value in (np.median(good), np.percentile(good, 95), max(good)))
        lines.append(f"| {what} | {sum(not wrong for _, wrong in calls)} | {sum(bool(wrong) for _, wrong in calls)} | "
                     f"{' | '.join(row)} |")  # fmt: skip
    lines += ["", "| since | from, s | to, s | answered | failed | median, s | p95, s |", "|" + " --- |" * 7]
    for name, start, end in phases(found):
        calls = [(took, wrong) for at, _, took, wrong in found["calls"] if start <= at < end]
        good = [took for took, wrong in calls if not wrong]
        figures = f"{np.median(good):.2f} | {np.percentile(good, 95):.2f}" if good else " | "
        lines.append(f"| {name} | {start:.1f} | {end:.1f} | {len(good)} | {len(calls) - len(good)} | {figures} |")
    if failed:
        lines += [
            "",
            "What failed, and when:",
            "",
            "| calls | error | times | at, s |",
            "| --- | --- | --- | --- |",
        ]
        why = Counter((what, _short(wrong)) for _, what, wrong in failed)
        for (what, said), count in why.most_common():
            at = ", ".join(f"{at:.1f}" for at, of, wrong in failed if (of, _short(wrong)) == (what, said))
            lines.append(f"| {what} | {said} | {count} | {at} |")
    if again:
        lines += ["", "Errors after which eden_client tried again:", ""]
        lines += [f"- {count} x {said}" for said, count in Counter(map(_short, again)).items()]
    return "\n".join(lines) + "\n"


def _short(wrong: str) -> str:
    """An error without its parts that differ from call to call."""
    return re.sub(r"http://127\.0\.0\.1:\d+", "the proxy", " ".join(wrong.split()))[:160].replace("|", "/")


def _medians(calls: list[list[Any]]) -> tuple[list[float], list[float]]:
    """The middle of each BIN, and the median of the calls answered in it."""
    of_bin = defaultdict(list)
    for at, _, took, wrong in calls:
        if not wrong:
            of_bin[at // BIN].append(took)
    return [(number + 0.5) * BIN for number in sorted(of_bin)], [float(np.median(of_bin[n])) for n in sorted(of_bin)]


def picture(path: Path, found: dict[str, Any]) -> None:
    """Each call at the moment it ended, by how long it took; below, which servers were up."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, (above, below) = pyplot.subplots(
        2, 1, figsize=(13, 7), sharex=True, height_ratios=(5, 1), layout="constrained"
    )
    kinds = sorted({what for _, what, _, _ in found["calls"]})
    for number, kind in enumerate(kinds):
        good = [(at, took) for at, what, took, wrong in found["calls"] if what == kind and not wrong]
        above.plot(*zip(*good, strict=True), ".", markersize=4, color=f"C{number}", label=kind) if good else None
    above.plot(*_medians(found["calls"]), "k-", linewidth=1.5, label=f"median of {BIN:g} s")
    bad = [(at, max(took, 0.01)) for at, _, took, wrong in found["calls"] if wrong]
    above.plot(*(zip(*bad, strict=True) if bad else ([], [])), "rx", markersize=9, label=f"failed ({len(bad)})")
    above.set_yscale("log")
    above.set_ylabel("seconds until the answer")
    above.grid(alpha=0.3)
    above.legend(loc="upper left", fontsize=8, ncols=4)
    above.set_title("Every call at three servers behind HAProxy, at the moment it ended")
    names = list(found["proxy"])
    for row, name in enumerate(names):
        times = [(at, name in up) for at, up in found["up"]]
        below.fill_between(
            [at for at, _ in times], row, [row + 0.8 * up for _, up in times], step="post", color=f"C{row}"
        )
    below.set_yticks([row + 0.4 for row in range(len(names))], names)
    below.set_ylabel("sent calls")
    below.set_xlabel("seconds")
    for name, at, _ in phases(found)[1:]:
        for each in (above, below):
            each.axvline(at, color="grey", linewidth=0.7)
        above.annotate(name, (at, 0.02), xycoords=("data", "axes fraction"), rotation=90, fontsize=7, va="bottom")
    figure.savefig(path, dpi=110)
    pyplot.close(figure)
