"""Traces a pair through the topologies split and fused, and measures the cost of tracing under load.

    python weights/make_random.py run/published --published
    python -m bench.trace --checkpoint run/published --precision bf16 --out run/trace
    python -m bench.trace --device cpu --quick --out run/trace   # to try it: a tiny network, small frames

For each topology, a server is started and warmed up. A single pair of each size is traced into OUT/TOPOLOGY-HxW.json
and .html, and all of them side by side into OUT/trace.png. Then load without and with tracing alternates, for
OUT/overhead.md and .json. Where OpenTelemetry is installed, spans are also exported to a collector that drops them:
those of a tenth of the requests, as by default, and those of all.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.metadata
import json
import multiprocessing
import statistics
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.patches import Rectangle

from bench import machine
from bench.topologies import frames as drawn
from bench.topologies import weights
from bench.topologies.load import Generators
from bench.topologies.plan import FUSED, GPU_PLAN, QUICK_PLAN, TOPOLOGIES, Plan, Serving, Work
from bench.topologies.served import pack, started, target
from eden_client import EdenClient, Trace
from eden_client.api.open_route import RouteName
from eden_client.trace.files import write_trace
from media.signals import exit_when_told_to
from server import Server
from tracing.context import HEADER, TraceContext
from tracing.spans import Span

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # once it is known that there is no screen

START_S = 240.0
COLOURS = {"client": "#9ca3af", "encoder": "#2563eb", "dit_decoder": "#d97706", "eden_fused": "#059669"}
WARM_CALLS = 6
"""Pairs of each size before the one that is traced."""
TRACED = 5
"""Pairs traced, of which the one that took the median time is kept."""
SIZES = {False: ((480, 854), (1080, 1920)), True: ((64, 96), (128, 192))}
"""(H, W), by whether it is --quick."""


def main(argv: Sequence[str] | None = None) -> int:
    args = _arguments(argv)
    args.out.mkdir(parents=True, exist_ok=True)
    plan = QUICK_PLAN if args.quick else GPU_PLAN
    plan = replace(plan, warm_sizes=SIZES[args.quick])
    found: dict[str, Any] = {"machine": machine.describe(), "precision": args.precision, "rows": []}
    traces: dict[str, list[Span]] = {}
    with tempfile.TemporaryDirectory(prefix="trace-") as temporary:
        folder = Path(temporary)
        checkpoint = weights.checkpoint(args, folder)
        drawn.draw(plan.lone, folder)
        with Generators(plan.processes) as generators, collector() as url:
            for name in (TOPOLOGIES[short] for short in args.topologies):
                serving = Serving(name, replace(plan.settings[name][0], more=collected(url)))
                pack(serving, plan, checkpoint, args.precision, folder / f"store-{name}")
                with started(folder / f"store-{name}", folder / f"server-{name}", START_S) as server:
                    for size in SIZES[args.quick]:
                        traces[f"{name}, {size[0]}x{size[1]}"] = lone_pair(server, name, size, args.out)
                    found["rows"] += overhead(server, name, plan, args.rounds, generators, folder, url)
                (args.out / "overhead.json").write_text(json.dumps(found, indent=1))
    picture(traces, args.out / "trace.png")
    report = as_markdown(found)
    (args.out / "overhead.md").write_text(report)
    print(report)
    return 0


def lone_pair(server: Server, name: str, size: tuple[int, int], out: Path) -> list[Span]:
    """Trace one pair on an idle server. Writes its spans, and returns them."""
    work = Work(size, 2, "npy", 1, 1)
    first, second = drawn_pair(work)
    route: RouteName = "fused" if name == FUSED else "workflow"
    keys = server.folder / "key_file.json"
    with EdenClient(server.url, key_file=keys, route=route) as client:
        for _ in range(WARM_CALLS):
            client.interpolate_pair(first, second)
        seen: list[list[Span]] = []
        for _ in range(TRACED):
            client.trace = Trace()
            client.interpolate_pair(first, second)
            seen.append(client.trace.spans)
    chosen = sorted(seen, key=lambda spans: spans[0].end_ns - spans[0].start_ns)[TRACED // 2]
    for ending in ("json", "html"):
        write_trace(out / f"{name}-{size[0]}x{size[1]}.{ending}", chosen)
    return chosen


def drawn_pair(work: Work) -> tuple[Any, Any]:
    with tempfile.TemporaryDirectory() as folder:
        drawn.draw(work, Path(folder))
        first, second, *_ = drawn.frames(work, Path(folder))
    return first, second


def overhead(
    server: Server, name: str, plan: Plan, rounds: int, generators: Generators, folder: Path, url: str | None
) -> list[dict[str, Any]]:
    """Measure the same load without and with tracing, by turns: with the spans in each answer, and exported."""
    aim = target(server, plan.lone, folder)
    unsampled = aim.headers | {HEADER: str(TraceContext.begin(sampled=False))}
    ways = {"off": unsampled if url else aim.headers, "spans with the answer": unsampled | {"X-Eden-Spans": "1"}}
    if url:
        ways |= {"a tenth exported": aim.headers, "all exported": aim.headers | {HEADER: str(TraceContext.begin())}}
    rows: list[dict[str, Any]] = []
    for turn in range(rounds):
        for way in ways if turn % 2 == 0 else reversed(list(ways)):
            warm = plan.warm_seconds * (3 if not rows else 0.5)
            row = generators.measure(
                replace(aim, headers=ways[way]), plan.lone.users, warm, plan.window_seconds, 10 * plan.warm_seconds
            )
            rows.append({"topology": name, "tracing": way, "work": plan.lone.name, "round": turn} | row)
            print(json.dumps(rows[-1]), flush=True)
    return rows


@contextlib.contextmanager
def collector() -> Iterator[str | None]:
    """A process that takes spans over HTTP and drops them. Yields its address; None: OpenTelemetry is not installed."""
    try:
        importlib.metadata.version("opentelemetry-exporter-otlp-proto-http")
    except importlib.metadata.PackageNotFoundError:
        yield None
        return
    spawn = multiprocessing.get_context("spawn")
    ours, theirs = spawn.Pipe()
    process = spawn.Process(target=collect, args=(theirs,), daemon=True)
    process.start()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


def collect(pipe: Connection) -> None:
    """Take spans until killed. Sends the port through the pipe."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            self.send_response(200)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    pipe.send(server.server_port)
    server.serve_forever()


def collected(url: str | None) -> tuple[str, ...]:
    """Settings by which traces are exported: those that callers have sampled, and a tenth of other requests."""
    return (f"tracing.endpoint={url}", "tracing.sample=0.1") if url else ()


def as_markdown(found: dict[str, Any]) -> str:
    """The report: medians of the rounds, and of the differences within a round."""
    on = found["machine"]
    chips = f"{', '.join(on['gpus']) or on['cpu']}, {on['cores']} cores"
    where = f"{chips}, PyTorch {on['torch']}, {on['date']}"
    lines = [
        f"Tracing's cost under load: {where}, {found['precision']}",
        "",
        "| topology | work | tracing | pairs/s, median (each) | p95 ms | failed | against off, per round |",
        "|---|---|---|---|---|---|---|",
    ]
    for topology in dict.fromkeys(row["topology"] for row in found["rows"]):
        own = [row for row in found["rows"] if row["topology"] == topology]
        off = {row["round"]: row["pairs_s"] for row in own if row["tracing"] == "off"}
        for way in dict.fromkeys(row["tracing"] for row in own):
            rows = [row for row in own if row["tracing"] == way]
            rates = [row["pairs_s"] for row in rows]
            against = [100 * (row["pairs_s"] / off[row["round"]] - 1) for row in rows if off[row["round"]]]
            each = ", ".join(f"{rate:.1f}" for rate in rates)
            p95 = statistics.median(row["p95_ms"] or 0 for row in rows)
            change = f"{statistics.median(against):+.1f} %" if way != "off" and against else ""
            failed = sum(row["failed"] for row in rows)
            lines.append(
                f"| {topology} | {rows[0]['work']} | {way} | {statistics.median(rates):.1f} ({each}) | {p95:.0f} "
                f"| {failed} | {change} |"
            )
    return "\n".join(lines) + "\n"


def picture(traces: dict[str, list[Span]], path: Path) -> None:
    """Draw the traces as waterfalls, one below the other, each to its own scale."""
    heights = [len(spans) for spans in traces.values()]
    figure, axes = plt.subplots(
        len(traces),
        1,
        figsize=(11, 1.2 + 0.24 * sum(heights) + 0.5 * len(traces)),
        height_ratios=heights,
        squeeze=False,
    )
    for (title, spans), axis in zip(traces.items(), axes[:, 0], strict=True):
        first, depth = spans[0].start_ns, _depths(spans)
        labels = []
        for row, span in enumerate(_in_tree(spans)):
            start, length = (span.start_ns - first) / 1e6, (span.end_ns - span.start_ns) / 1e6
            node = str(span.attributes["eden.node"])
            axis.barh(row, length, left=start, height=0.75, color=COLOURS.get(node, "#111827"))
            axis.text(start + length, row, f" {length:.1f}", va="center", fontsize=7)
            labels.append("  " * depth[span.span_id] + span.name)
        axis.set_yticks(range(len(labels)), labels, fontsize=7, family="monospace")
        for label in axis.get_yticklabels():
            label.set_horizontalalignment("left")
        axis.tick_params(axis="y", pad=150, length=0)
        axis.invert_yaxis()
        axis.margins(x=0.06)
        axis.set_title(f"{title}: one pair, {(spans[0].end_ns - first) / 1e6:.1f} ms", fontsize=9, loc="left")
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[-1, 0].set_xlabel("ms")
    shown = {str(span.attributes["eden.node"]) for spans in traces.values() for span in spans}
    handles = [Rectangle((0, 0), 1, 1, color=colour) for node, colour in COLOURS.items() if node in shown]
    figure.legend(handles, [node for node in COLOURS if node in shown], loc="upper right", ncols=4, fontsize=8)
    figure.tight_layout()
    figure.savefig(path, dpi=130)
    plt.close(figure)


def _in_tree(spans: Sequence[Span]) -> list[Span]:
    """The spans in an order in which each step comes before its parts."""
    parts: dict[str | None, list[Span]] = {}
    known = {span.span_id for span in spans}
    for span in spans:
        parts.setdefault(span.parent_id if span.parent_id in known else None, []).append(span)

    def below(parent: str | None) -> list[Span]:
        return [each for span in parts.get(parent, []) for each in (span, *below(span.span_id))]

    return below(None)


def _depths(spans: Sequence[Span]) -> dict[str, int]:
    depth: dict[str, int] = {}
    for span in _in_tree(spans):
        depth[span.span_id] = depth.get(span.parent_id or "", -1) + 1
    return depth


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.trace", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    weights.add_options(parser, quick=True)
    add = parser.add_argument
    add("--rounds", type=int, default=6, help="rounds of load, each without and with tracing (default: %(default)s)")
    both = ("split", "fused")
    add("--topologies", nargs="+", choices=both, default=both, help="topologies to measure (default: both)")
    add("--out", type=lambda text: Path(text).absolute(), required=True, help="folder of the results")
    args = parser.parse_args(argv)
    weights.check(parser, args, gpus=1)
    return args


if __name__ == "__main__":
    exit_when_told_to()
    raise SystemExit(main())
