"""OUT.html (self-contained), OUT.png and OUT.csv from what a run found."""

from __future__ import annotations

import base64
import csv
import html
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench.capacity.samples import STAGES
from bench.capacity.verdict import advice, best_of, bottleneck, knee_of, name_of, nodes_of, overheads, sweep

BUSY = 0.8
"""Share of a core beyond which a load generating process counts as what was measured."""

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2em auto; padding: 0 1em; color: #222 }
table { border-collapse: collapse; font-size: 13px; margin: .5em 0 1.5em }
th, td { border-bottom: 1px solid #ddd; padding: .25em .7em; text-align: right; white-space: nowrap }
th { background: #f4f4f4 } td:first-child, th:first-child { text-align: left }
img { max-width: 100% }
.warn { background: #fff3cd; padding: .5em 1em } code { background: #f4f4f4; word-break: break-all }
.wide { overflow-x: auto }
"""

Column = tuple[str, Callable[[Mapping[str, Any]], Any], str]
"""title, value of a row, format"""


def write_report(found: Mapping[str, Any], out: Path) -> None:
    """Write the three files beside each other."""
    from bench.capacity.plots import draw  # here, since matplotlib takes a second to import

    picture = draw(found, machine_in_words(found))
    out.with_suffix(".png").write_bytes(picture)
    _write_csv(found["rows"], out.with_suffix(".csv"))
    out.with_suffix(".html").write_text(_page(found, picture))


def machine_in_words(found: Mapping[str, Any]) -> str:
    """What it ran on."""
    machine = found["machine"]
    gpus = " + ".join(machine["gpus"])
    cores = f"{machine['cores']} cores ({machine['cpu']})"
    return ", ".join(filter(None, [gpus, cores, found["plan"]["precision"]]))


def _write_csv(rows: Sequence[Mapping[str, Any]], path: Path) -> None:
    titles = list(dict.fromkeys(key for row in rows for key in row))
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, titles)
        writer.writeheader()
        writer.writerows(rows)


def _page(found: Mapping[str, Any], picture: bytes) -> str:
    rows, plan = found["rows"], found["plan"]
    image = base64.b64encode(picture).decode()
    parts = [
        "<h1>What this machine holds</h1>",
        f"<p>{_text(machine_in_words(found))}; Python {found['machine']['python']}, torch {found['machine']['torch']}; "
        f"{found['machine']['date']}. Checkpoint {_text(Path(plan['checkpoint']).name)}. Frames are distinct, drawn "
        "before the load; each user has one request in flight and sends the next as soon as it is answered. "
        f"Each step: {plan['settle_seconds']:g} s to settle, {plan['phase_seconds']:g} s measured.</p>",
        *_warnings(rows),
        *(f'<p class="warn">{_text(note)}</p>' for note in found.get("notes", ())),
        "<h2>Which settings to use</h2>",
        *(f"<p>{_text(sentence)}</p>" for sentence in advice(found)),
        f'<img alt="charts" src="data:image/png;base64,{image}">',
        "<h2>Streaming and batch side by side</h2>",
        _table(_summaries(rows), SUMMARY),
        "<h2>What serving costs</h2>",
        "<p>The best throughput of any setting beside the same model in one process: alone (arrays in, arrays out), "
        "and with the pictures read and written as the server does.</p>",
        _table(overheads(found), COST),
        "<h2>Settings</h2>",
        _table(_best(rows), SETTINGS),
        *_cameras(rows, plan),
        *_overload(found.get("overload")),
        "<h2>Every step</h2>",
        _table([row for row in rows if row["kind"] == "sweep"], STEPS),
        "<h2>Time by stage, CPU, memory</h2>",
        "<p>Stages: ms of a worker's time for one pair. Queue: ms of one request. Cores: CPU seconds per second.</p>",
        _table(rows, MACHINE),
        f"<p>Left out for lack of time: {_text('; '.join(found['left_out']) or 'nothing')}.</p>",
        f"<p>Made by <code>python -m bench.capacity {_text(plan['command'])}</code></p>",
    ]
    head = f"<!doctype html><html lang=en><meta charset=utf-8><title>EDEN: capacity</title><style>{STYLE}</style>"
    return head + "\n".join(parts) + "</html>\n"


def _warnings(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    busy = [row for row in rows if row["generator_cpu"] > BUSY]
    failed = sum(row["failures"] for row in rows)
    said = []
    if busy:
        steps = "; ".join(f"{name_of(row)}, {row['users']} users ({row['generator_cpu']:.0%})" for row in busy)
        said.append(f'<p class="warn">The load generator was busy, and may be what was measured: {_text(steps)}.</p>')
    if failed:
        said.append(f'<p class="warn">{failed} requests failed.</p>')
    return said


def _summaries(rows: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The knee and saturation of each workload under the first setting."""
    first = rows[0]["setting"]
    said = []
    for workload in dict.fromkeys(name_of(row) for row in rows if row["setting"] == first and row["kind"] == "sweep"):
        steps = sweep(rows, first, workload)
        said.append({"workload": workload, "knee": knee_of(steps), "best": best_of(steps)})
    return said


def _best(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    sweeps = [row for row in rows if row["kind"] == "sweep"]
    cases = dict.fromkeys((name_of(row), row["setting"]) for row in sweeps)
    return [best_of(sweep(sweeps, setting, workload)) for workload, setting in sorted(cases, key=lambda case: case[0])]


def _cameras(rows: Sequence[Mapping[str, Any]], plan: Mapping[str, Any]) -> list[str]:
    cameras = [row for row in rows if row["kind"] == "cameras"]
    if not cameras:
        return []
    return [
        "<h2>Cameras</h2>",
        f"<p>Each sends {plan['camera_rate']:g} pairs per second, at moments of its own; a pair is late after a "
        "period, and skipped while the last one is in flight.</p>",
        _table(cameras, CAMERAS),
    ]


def _overload(found: Mapping[str, Any] | None) -> list[str]:
    if not found:
        return []
    return [
        "<h2>Overload</h2>",
        f"<p>{_text(found['workload'])}: twice the throughput of the knee offered by {found['cameras']} cameras, two "
        "times; then a lone pair, until it is answered as quickly as before.</p>",
        _table(found["waves"], OVERLOAD),
    ]


def _table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """Columns that no row has anything in are left out: GPUs where there is none, nodes of another topology."""
    columns = [column for column in columns if any(_cell(column[1], row, column[2]) for row in rows)]
    head = "".join(f"<th>{_text(title)}</th>" for title, _, _ in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{_cell(value, row, form)}</td>" for _, value, form in columns) + "</tr>" for row in rows
    )
    return f'<div class="wide"><table><tr>{head}</tr>{body}</table></div>'


def _cell(value: Callable[[Mapping[str, Any]], Any], row: Mapping[str, Any], form: str) -> str:
    try:
        found = value(row)
        return "" if found is None else _text(format(found, form))
    except KeyError:
        return ""


def _text(text: str) -> str:
    return html.escape(text)


def _of(key: str, factor: float = 1.0) -> Callable[[Mapping[str, Any]], Any]:
    def value(row: Mapping[str, Any]) -> Any:
        return None if row[key] is None else row[key] if isinstance(row[key], str) else row[key] * factor

    return value


def _drawing(key: str) -> Callable[[Mapping[str, Any]], Any]:
    """Of the node that draws: dit_decoder, or the fused one."""
    return lambda row: row[f"{nodes_of(row)[-1]}_{key}"]


def _filled(row: Mapping[str, Any]) -> float:
    """The share of a batch's places that were taken, on average."""
    return float(_drawing("requests_a_batch")(row) / row["batch"])


SUMMARY: list[Column] = [
    ("workload", _of("workload"), ""),
    ("knee: at once", lambda row: row["knee"]["users"], ""),
    ("pairs/s", lambda row: row["knee"]["pairs_a_second"], ".2f"),
    ("p50 ms", lambda row: row["knee"]["p50_ms"], ".0f"),
    ("p95 ms", lambda row: row["knee"]["p95_ms"], ".0f"),
    ("p99 ms", lambda row: row["knee"]["p99_ms"], ".0f"),
    ("saturated: pairs/s", lambda row: row["best"]["pairs_a_second"], ".2f"),
    ("achieved batch", lambda row: _drawing("requests_a_batch")(row["best"]), ".1f"),
    ("places filled", lambda row: _filled(row["best"]), ".0%"),
    ("load generator", lambda row: row["best"]["generator_cpu"], ".0%"),
]
COST: list[Column] = [
    ("workload", _of("workload"), ""),
    ("model alone, pairs/s", _of("engine"), ".2f"),
    ("with pictures", _of("with_pictures"), ".2f"),
    ("served", _of("served"), ".2f"),
    ("of model alone", _of("share"), ".0%"),
    ("of with pictures", _of("share_with_pictures"), ".0%"),
    ("setting", _of("setting"), ""),
    ("what eats the rest", _of("why"), ""),
]
CASE: list[Column] = [("workload", name_of, ""), ("setting", _of("setting"), ""), ("at once", _of("users"), "")]
SETTINGS: list[Column] = [
    *CASE,
    ("pairs/s", _of("pairs_a_second"), ".2f"),
    ("p95 ms", _of("p95_ms"), ".0f"),
    ("encoder batch", _of("encoder_requests_a_batch"), ".1f"),
    ("drawn in a batch", _drawing("requests_a_batch"), ".1f"),
    ("places filled", _filled, ".0%"),
    ("", bottleneck, ""),
]
STEPS: list[Column] = [
    *CASE,
    ("pairs/s", _of("pairs_a_second"), ".2f"),
    ("drawn/s", _of("drawn_a_second"), ".2f"),
    *((f"{key} ms", _of(f"{key}_ms"), ".0f") for key in ("p50", "p95", "p99")),
    ("failed", _of("failures"), ""),
    ("encoder batch", _of("encoder_requests_a_batch"), ".1f"),
    ("drawn in a batch", _drawing("requests_a_batch"), ".1f"),
    ("places filled", _filled, ".0%"),
    ("full batches", _drawing("full_batches"), ".0%"),
    ("load generator", _of("generator_cpu"), ".0%"),
]
CAMERAS: list[Column] = [
    ("cameras", _of("users"), ""),
    ("pairs/s", _of("pairs_a_second"), ".2f"),
    ("late or skipped", _of("late"), ".1%"),
    *((f"{key} ms", _of(f"{key}_ms"), ".0f") for key in ("p50", "p95", "p99")),
    ("drawn in a batch", _drawing("requests_a_batch"), ".1f"),
]
OVERLOAD: list[Column] = [
    ("offered/s", _of("offered"), ".2f"),
    ("answered/s", _of("answered"), ".2f"),
    ("refused/s", _of("refused"), ".2f"),
    ("other failures", _of("other_failures"), ""),
    *((f"{what} {key} ms", _of(f"{what}_{key}_ms"), ".0f") for what in ("answer", "refusal") for key in ("p50", "p99")),
    ("back after s", _of("back_after_s"), ".1f"),
    ("lone pair before, ms", _of("lone_before_ms"), ".0f"),
    ("after, ms", _of("lone_after_ms"), ".0f"),
    ("JVM threads", _of("threads"), ""),
]
MACHINE: list[Column] = [
    *CASE,
    *((stage, _of(f"{stage}_ms_a_pair"), ".1f") for stage in STAGES),
    ("encoder queue", _of("encoder_queue_ms"), ".0f"),
    ("drawing queue", _drawing("queue_ms"), ".0f"),
    ("hand-off MB per pair", _of("handoff_bytes_a_pair", 1e-6), ".2f"),
    *((f"{role} cores", _of(f"{role}_cores"), ".2f") for role in ("java", "encoder", "decoder", "fused")),
    *((f"{role} MB", _of(f"{role}_bytes", 1e-6), ".0f") for role in ("java", "encoder", "decoder", "fused")),
    *((f"GPU {gpu} busy", _of(f"gpu{gpu}_busy"), ".0%") for gpu in (0, 1)),
    *((f"GPU {gpu} GB", _of(f"gpu{gpu}_bytes", 1e-9), ".1f") for gpu in (0, 1)),
]
