"""Writes the results of bench.cluster."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

from bench import machine


def write(path: Path, found: dict[str, Any]) -> None:
    """Write `path` with .json and .md."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.with_suffix(".json").write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(markdown(found), encoding="utf-8")


def markdown(found: dict[str, Any]) -> str:
    """The report: a section for each part that was measured."""
    loads = ", ".join(f"{part} {load:.1f}" for part, load in found["loads"].items())
    lines = [
        f"# Films on Ray, on one machine\n\n{machine.line(found['machine'])}. `python -m bench.cluster`. Load of "
        f"the machine over a minute before each part: {loads}."
    ]
    if killed := found.get("killed"):
        lines.append(_killed(killed, found))
    if overhead := found.get("overhead"):
        lines.append(_overhead(overhead, found))
    if driver := found.get("driver"):
        lines.append(_driver(driver))
    return "\n\n".join(lines) + "\n"


def _killed(told: dict[str, Any], found: dict[str, Any]) -> str:
    notes = "\n".join(f"    {note}" for note in told["notes"])
    same = "the same bytes as" if told["same"] else "NOT the same bytes as"
    return (
        "## A node killed in mid-film\n\n"
        f"{found['frames']} frames of {found['size']} doubled by three nodes of one processor each; one node killed "
        f"(kill -9, all its processes) {told['killed_after_s']:.1f} s after the command began, with "
        f"{told['segments_done']} segments done, and another added. Exit code {told['code']}, {told['frames']} "
        f"frames in {told['seconds']:.1f} s; {same} by processes of this machine alone ({told['alone_s']:.1f} s). "
        f"The command's notes:\n\n{notes}"
    )


def _overhead(told: dict[str, Any], found: dict[str, Any]) -> str:
    rows = "\n".join(
        f"| {way} | {what} | {statistics.median(each[way]):.1f} | {', '.join(f'{value:.1f}' for value in each[way])} |"
        for what, each in (("the command", told["seconds"]), ("its work", told["working"]))
        for way in ("processes", "ray")
    )
    same = "the same" if told["same"] else "NOT the same"
    whole, work = told["slower"]
    return (
        "## Beside processes of this machine\n\n"
        f"A film of {told['frames']} frames of {found['size']} by the same server, in turn; most segments have 96 "
        "frames. By Ray: one node with all processors. The command: from its start to its end; with Ray that holds "
        "connecting, and the start of Ray's worker processes, which are new for each command. Its work: from when the "
        "first frame is there (by Ray: the first segment, of 12 frames) to the film's end.\n\n"
        f"| way | what | median, s | runs, s |\n|---|---|---|---|\n{rows}\n\n"
        f"By Ray the command takes {whole:+.1%}, its work {work:+.1%}; both files are {same}."
    )


def _driver(rows: list[dict[str, Any]]) -> str:
    kinds = list(rows[0]["cpu_ms_per_job"])
    header = ["size", "jobs", "frames", *kinds, "sent, kB", "back, kB", "head, kB"]
    lines = [f"| {' | '.join(header)} |", "|---" * len(header) + "|"]
    for row in rows:
        cells = [row["size"], str(row["jobs"]), str(row["frames"])]
        cells += [f"{row['cpu_ms_per_job'][kind]:.1f}" for kind in kinds]
        cells += [f"{row['bytes_per_job'][way] / 1e3:.0f}" for way in ("sent", "back")]
        lines.append("| " + " | ".join([*cells, f"{row['bytes_of_head'] / 1e3:.0f}"]) + " |")
    return (
        "## What a job costs\n\n"
        "Without a model (a server that answers at once), one node with all processors. Milliseconds of processor time "
        "per segment job: of the driver, planning (all of the source decoded and compared once; or mostly by nodes, as "
        "where eight segments or more are made at once), cutting (finding a job's bytes), joining, and the rest; of "
        "Ray's own processes (GCS, raylet, agents), their idle work in that time included; of the workers, which "
        "decode and encode. Bytes per job through the object store; the head goes once per film.\n\n" + "\n".join(lines)
    )
