"""The table of what bench.film measured."""

from __future__ import annotations

from typing import Any

STAGES = ("decode", "send", "server", "encode")


def markdown(found: dict[str, Any]) -> str:
    """A table per size and preset, with each way's share of ffmpeg's rate and of what all cores can write."""
    of = found["machine"]
    gpus = f"{len(of['gpus'])} x {of['gpus'][0]}, " if of["gpus"] else ""
    lines = [
        f"{gpus}{of['cpu']}, {of['cores']} cores, {of['date']}. Twice the frames, libx264, crf 17; the start of each "
        f"program included; the command may take {found['memory'] / 2**30:.3g} GiB.",
    ]
    for size, preset in dict.fromkeys((row["size"], row["preset"]) for row in found["rows"]):
        rows = {row["way"]: row for row in found["rows"] if (row["size"], row["preset"]) == (size, preset)}
        rates = {way: row["frames"] / row["seconds"] for way, row in rows.items()}
        lines += [
            "",
            f"## {size}, {preset}",
            "",
            "| way | frames per second | of ffmpeg | of all cores writing | first frame, s | peak, MB | "
            + " | ".join(f"{stage}, s" for stage in STAGES)
            + " |",
            "|---" * (6 + len(STAGES)) + "|",
        ]
        for way, row in rows.items():
            shares = [f"{rates[way] / rates[other]:.2f}" if other in rates else "" for other in SHARES]
            stages = row.get("stages", {})
            first = f"{stages['to_first_frame']:.2f}" if stages else ""
            peak = f"{row['peak_bytes'] / 2**20:.0f}" if "peak_bytes" in row else ""
            times = [f"{stages[stage]:.1f}" if stages else "" for stage in STAGES]
            lines.append("| " + " | ".join([way, f"{rates[way]:.1f}", *shares, first, peak, *times]) + " |")
    return "\n".join(lines) + "\n"


SHARES = ("ffmpeg", "all cores writing")
