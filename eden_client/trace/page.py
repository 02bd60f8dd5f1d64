"""Draws a trace as a self-contained page: a waterfall of bars, without scripts, where each step opens to its parts."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from html import escape

from tracing.spans import Span

MOST = 20_000
"""The most spans on a page; a film has more, which only the .json holds."""
ALIKE = 100
"""The most parts of a step that are listed one by one; more are grouped."""
OPEN = 40
"""On a page with at most so many spans, all of them are open at first."""
SCALES = ("request", "segment")
"""Steps whose parts are drawn to a scale of their own, on a page with many spans."""

STYLE = """
:root { color-scheme: light dark; --line: light-dark(#d4d4d8, #3f3f46); --dim: light-dark(#52525b, #a1a1aa);
  --client: light-dark(#6b7280, #9ca3af); --encoder: light-dark(#2563eb, #60a5fa);
  --dit_decoder: light-dark(#b45309, #f59e0b); --eden_fused: light-dark(#047857, #34d399);
  --failed: light-dark(#b91c1c, #f87171); }
body { font: 14px/1.45 system-ui, sans-serif; margin: 1.5rem; background: light-dark(#fff, #18181b);
  color: light-dark(#18181b, #f4f4f5); }
h1 { font-size: 1.25rem; margin: 0 0 .25rem } p, ul { margin: .25rem 0; color: var(--dim) }
summary { display: grid; grid-template-columns: minmax(9rem, 22rem) 1fr 6.5rem; gap: .75rem; align-items: center;
  padding: .1rem .25rem; cursor: pointer; border-bottom: 1px solid var(--line); list-style: none }
summary::-webkit-details-marker { display: none }
summary:hover { background: light-dark(#f4f4f5, #27272a) }
summary:focus-visible { outline: 2px solid var(--encoder); outline-offset: -2px }
.n { padding-left: calc(var(--depth) * .9rem); overflow: hidden; text-overflow: ellipsis; white-space: nowrap }
.n::before { content: "\\25B8"; display: inline-block; width: 1rem; color: var(--dim) }
details[open] > summary .n::before { content: "\\25BE" }
.t { position: relative; height: 1rem; background: light-dark(#fafafa, #202024) }
.b { position: absolute; height: 100%; min-width: 2px; border-radius: 2px; background: var(--client);
  left: calc((var(--s) - var(--o)) / var(--w) * 100%); width: calc(var(--d) / var(--w) * 100%) }
.encoder { background: var(--encoder) } .dit_decoder { background: var(--dit_decoder) }
.eden_fused, .eden_live { background: var(--eden_fused) } .failed { background: var(--failed) }
.client { background: var(--client) }
.k { display: inline-block; width: .8rem; height: .8rem; border-radius: 2px; margin: 0 .3rem 0 1rem }
.ms { text-align: right; font-variant-numeric: tabular-nums }
dl { margin: .25rem 0 .5rem calc(var(--depth) * .9rem + 1.5rem); display: grid; grid-template-columns: max-content 1fr;
  gap: 0 1rem; color: var(--dim); font-size: .9em } dd { margin: 0; overflow-wrap: anywhere }
"""


def as_page(spans: Sequence[Span], dropped: int = 0) -> str:
    """A self-contained HTML page of one trace, for mouse and keyboard, light and dark. `dropped`: as `write_trace`."""
    kept = sorted(spans, key=lambda span: (span.start_ns, -span.end_ns))
    left_out = max(0, len(kept) - MOST)
    kept = kept[:MOST]
    ids = {span.span_id for span in kept}
    parts: dict[str | None, list[Span]] = defaultdict(list)
    for span in kept:
        parts[span.parent_id if span.parent_id in ids else None].append(span)
    first = kept[0].start_ns if kept else 0
    whole = max([1, *(span.end_ns - first for span in kept)])
    scaled = sum(span.name in SCALES for span in kept) > 1
    notes = [f"{left_out} more spans are in the .json" if left_out else "", _lost(dropped), *_clocks(kept)]
    return "".join(
        (
            '<!doctype html><html lang="en"><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>EDEN: {escape(_title(parts[None]))}</title><style>{STYLE}</style>",
            f"<h1>{escape(_title(parts[None]))}</h1>",
            f"<p>{len(kept)} spans in {_duration(whole)}{_legend(kept)}</p>",
            "<p>Steps that requests of a batch share have one <code>eden.batch</code> and the same beginning and end.",
            " Each opens to its parts and attributes (Tab, Enter)."
            + (" Parts of a request or segment are drawn to its own scale.</p>" if scaled else "</p>"),
            "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in notes if note) + "</ul>" if any(notes) else "",
            f'<main style="--o:0;--w:{whole}">',
            *(row for root in parts[None] for row in _rows(root, parts, first, 0, scaled, len(kept) <= OPEN)),
            "</main></html>\n",
        )
    )


def _rows(
    span: Span, parts: dict[str | None, list[Span]], first: int, depth: int, scaled: bool, opened: bool
) -> Iterator[str]:
    start, length = span.start_ns - first, span.end_ns - span.start_ns
    node = str(span.attributes.get("eden.node", "client"))
    kind = "failed" if span.failed else escape(node)
    told = {"measured by": node, "begins after": _duration(start), **span.attributes}
    yield f'<details style="--depth:{depth}"{" open" if opened or not depth else ""}><summary>'
    yield f'<span class="n">{escape(span.name)}{" (failed)" if span.failed else ""}</span><span class="t">'
    yield f'<span class="b {kind}" style="--s:{start};--d:{length}"></span></span>'
    yield f'<span class="ms">{_duration(length)}</span></summary><dl>'
    for name, value in told.items():
        yield f"<dt>{escape(name)}</dt><dd>{escape(str(value))}</dd>"
    yield "</dl>"
    if own := parts.get(span.span_id):
        to_scale = scaled and span.name in SCALES
        yield f'<div style="--o:{start};--w:{max(1, length)}">' if to_scale else "<div>"
        for bunch in _bunches(own):
            if len(bunch) == 1:
                yield from _rows(bunch[0], parts, first, depth + 1, scaled, opened)
            else:
                yield from _bunch(bunch, parts, first, depth + 1, scaled)
        yield "</div>"
    yield "</details>"


def _bunches(spans: Sequence[Span]) -> Iterator[Sequence[Span]]:
    """Groups of the spans: one each, or larger ones where there are too many to look through."""
    size = 1 if len(spans) <= ALIKE else ALIKE
    return (spans[start : start + size] for start in range(0, len(spans), size))


def _bunch(
    spans: Sequence[Span], parts: dict[str | None, list[Span]], first: int, depth: int, scaled: bool
) -> Iterator[str]:
    start, end = spans[0].start_ns - first, max(span.end_ns for span in spans) - first
    yield f'<details style="--depth:{depth}"><summary><span class="n">{len(spans)} steps</span><span class="t">'
    yield f'<span class="b client" style="--s:{start};--d:{end - start}"></span></span>'
    yield f'<span class="ms">{_duration(end - start)}</span></summary>'
    yield f'<div style="--o:{start};--w:{max(1, end - start)}">'
    for span in spans:
        yield from _rows(span, parts, first, depth + 1, scaled, False)
    yield "</div></details>"


def _title(roots: Sequence[Span]) -> str:
    return f"trace {roots[0].trace_id}" if roots else "an empty trace"


def _lost(dropped: int) -> str:
    return f"{dropped} spans were not kept: there were too many" if dropped else ""


def _legend(spans: Sequence[Span]) -> str:
    nodes = dict.fromkeys(str(span.attributes.get("eden.node", "client")) for span in spans)
    return "".join(f'<span class="k {escape(node)}"></span>{escape(node)}' for node in nodes)


def _clocks(spans: Sequence[Span]) -> Iterator[str]:
    """Notes on hosts with another clock than the client's. Spans are never moved to hide that."""
    by_id = {span.span_id: span for span in spans}
    off: dict[str, int] = {}
    for span in spans:
        parent = by_id.get(span.parent_id or "")
        if parent and span.attributes.get("eden.clock") != parent.attributes.get("eden.clock"):
            apart = max(parent.start_ns - span.start_ns, span.end_ns - parent.end_ns, 0)
            node = str(span.attributes.get("eden.node"))
            off[node] = max(off.get(node, 0), apart)
    for node, apart in off.items():
        seen = f": it is at least {_duration(apart)} off" if apart else ""
        yield f"{node} is on a host with another clock{seen}; its times are shown by that clock"


def _duration(ns: int) -> str:
    for unit, size in (("s", 10**9), ("ms", 10**6)):
        if ns >= size:
            return f"{ns / size:.2f} {unit}" if ns < 100 * size else f"{ns / size:.0f} {unit}"
    return f"{ns / 1000:.0f} µs"
