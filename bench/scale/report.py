"""The tables of `bench.scale`."""

from __future__ import annotations

from typing import Any

from bench import machine
from bench.scale.bounds import FLEETS, bounds


def text(costs: dict[str, Any]) -> str:
    """The report of these costs, as Markdown."""
    gpu, encode = costs["gpu"], costs["encode"]
    pairs = gpu["pairs_per_second"]
    lines = [
        "# What binds at scale",
        "",
        f"Arithmetic, from costs measured on {machine.line(costs['machine'])}.",
        f"One GPU is an {gpu['name']}, which answers {pairs['calls']:.0f} pairs of 480x854 per second one by one and "
        f"{pairs['clips']:.0f} in clips (bench/results/{gpu['from']}).",
        f"Writing frames: {encode['cpu']} (bench/results/{encode['from']}).",
        "",
        "| part | one of it is | GPUs that one feeds | " + " | ".join(f"for {count:,} GPUs" for count in FLEETS) + " |",
        "|---|---|---|" + "---|" * len(FLEETS),
    ]
    for bound in bounds(costs):
        needed = " | ".join(_figure(bound.needed(count)) for count in FLEETS)
        lines.append(f"| {bound.part} | {bound.unit} | {_figure(bound.gpus)} | {needed} |")
    lines += ["", "| cost | measured |", "|---|---|", *(f"| {name} | {figure} |" for name, figure in _costs(costs))]
    return "\n".join(lines) + "\n"


def _costs(costs: dict[str, Any]) -> list[tuple[str, str]]:
    planner, join = costs["film"]["planner"], costs["film"]["join"]
    found = [
        ("planner, decoding a frame of the source", f"{1e3 * planner['decode_cpu_s_per_frame']:.2f} ms"),
        (
            "planner, all else per frame, which threads hardly share: Python's lock",
            f"{1e3 * planner['plan_cpu_s_per_frame']:.2f} ms",
        ),
        (f"a job of {planner['frames_per_job']:.0f} frames, pickled", f"{planner['bytes_per_job'] / 1e3:.1f} kB"),
        (
            f"join, a frame of the result of {join['bytes_per_frame'] / 1e3:.1f} kB",
            f"{1e6 * join['cpu_s_per_frame']:.0f} us",
        ),
    ]
    for call in costs["proxy"]:
        there, back = call["sent"] / 1e6, call["received"] / 1e6
        name = f"HAProxy, one call: {call['name']}, {there:.2f} MB there and {back:.2f} MB back"
        found.append((name, f"{1e6 * call['cpu_s_per_call']:,.0f} us"))
    if ray := costs.get("ray"):
        name = f"Ray, a job of {ray['frames_per_job']:.0f} frames of the result (bench/results/{ray['from']})"
        found += [
            (f"{name}: the command, beside planning and joining", f"{1e3 * ray['driver_s_per_job']:.1f} ms"),
            (f"{name}: Ray's own processes", f"{1e3 * ray['own_s_per_job']:.1f} ms"),
            (f"{name}: through the object store", f"{ray['bytes_per_job'] / 1e6:.2f} MB"),
        ]
    return found


def _figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.2g}"
