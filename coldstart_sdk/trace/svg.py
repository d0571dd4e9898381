"""Draw a start as one small SVG file: no script, no font, no network; light or dark as the reader's system.

The critical path is told by a filled bar, a mark and bold type; colour only repeats it.
"""

from __future__ import annotations

from collections.abc import Iterator
from html import escape

from coldstart_sdk.trace import figures
from coldstart_sdk.trace.elide import columns, elide, elide_all, plain
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.rows import Chart, Row, chart, ticks
from coldstart_sdk.trace.story import story

_WIDTH = 880
_MARGIN = 24
_BARS = 276
"""Where bars begin; durations end just before."""
_TOP = 78
_ROW = 22
_BAR = 14
_LETTER = 7.25
"""Width of one letter of small type, at most: text must not run out of the picture on any system."""
_LONGEST_NAME = 25
_LONGEST_TITLE = 44
_TOLD = frozenset({"ready", "failed", "fix", "not ready", "critical", "answered", "degraded"})

_STYLE = """
svg{font:12px ui-monospace,SFMono-Regular,Menlo,Consolas,"DejaVu Sans Mono",monospace}
.page{fill:#fff;stroke:#d0d7de}text{fill:#1f2328}.dim,.axis{fill:#59636e}.title{font-size:15px;font-weight:600}
.b{font-weight:600}.e{text-anchor:end}.grid{stroke:#e4e8ec}.ready{stroke:#1a7f37;stroke-width:1.5}
.net{--c:#0969da}.disk{--c:#8250df}.cpu{--c:#bc4c00}.gpu{--c:#1a7f37}.wait{--c:#818b98}.bad{--c:#cf222e}
.bar{fill:var(--c);fill-opacity:.22;stroke:var(--c)}.crit{fill-opacity:1}
.bar.wait{fill:none;stroke-dasharray:3 2}
.badt{fill:#cf222e}.in{fill:#fff}.readyt{fill:#1a7f37}
@media(prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}.dim,.axis{fill:#9198a1}
.grid{stroke:#262c34}.ready{stroke:#3fb950}.readyt{fill:#3fb950}.badt{fill:#ff7b72}.in{fill:#0d1117}
.net{--c:#58a6ff}.disk{--c:#bc8cff}.cpu{--c:#f0883e}.gpu{--c:#3fb950}.wait{--c:#9198a1}.bad{--c:#ff7b72}}
"""


def render_svg(trace: Trace) -> str:
    """The picture, as the text of an `.svg` file."""
    drawn = chart(trace)
    rows = (*drawn.rows, drawn.answer) if drawn.answer else drawn.rows
    bottom = _TOP + _ROW * len(rows)
    told = [line for key, text in story(trace, arrow=" → ") if key in _TOLD for line in _lines(key, text)]
    height = bottom + 30 + 18 * len(told) + 6
    names = elide_all([plain(row.name) for row in rows], _LONGEST_NAME, "…")
    title = elide(_title(trace, drawn), _LONGEST_TITLE, "…")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"',
        f'width="{_WIDTH}" height="{height}" role="img" aria-label="{_text(title)}">',
        f"<title>{_text(title)}</title><style>{_STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
        f'<text class="title" x="{_MARGIN}" y="34">{_text(title)}</text>',
        *_legend(rows),
        *_grid(drawn, bottom),
        *(part for at, row in enumerate(rows) for part in _row(row, names[at], drawn, _TOP + _ROW * at)),
        *_ready(drawn, bottom),
        *_story(told, bottom + 34),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _title(trace: Trace, drawn: Chart) -> str:
    name = " on ".join(part for part in (trace.name or "cold start", trace.backend) if part)
    if drawn.ready_s is not None:
        return f"{name}: ready in {figures.duration(drawn.ready_s)}"
    return f"{name}: {trace.state.value} after {figures.duration(trace.end_s)}"


def _legend(rows: tuple[Row, ...]) -> Iterator[str]:
    """At the right of the title: the resources that occur, and what a filled bar means."""
    at = float(_WIDTH - _MARGIN)
    entries = [(resource, resource, "") for resource in dict.fromkeys(row.resource.value for row in rows)]
    if any(row.critical for row in rows):
        entries.append(("critical path", "cpu", " crit"))
    for words, resource, critical in reversed(entries):
        at -= len(words) * _LETTER + 4
        yield f'<text class="dim" x="{at:.1f}" y="34">{words}</text>'
        at -= 19
        yield f'<rect class="bar {resource}{critical}" x="{at:.1f}" y="24.5" width="14" height="10" rx="2"/>'
        at -= 10


def _grid(drawn: Chart, bottom: int) -> Iterator[str]:
    for at_s, words in ticks(drawn.end_s, 8):
        x = _x(at_s, drawn)
        yield f'<path class="grid" d="M{x:.1f} {_TOP - 8}V{bottom}"/>'
        if x + len(words) * _LETTER < _WIDTH - 6:
            yield f'<text class="axis" x="{x:.1f}" y="{_TOP - 14}">{words}</text>'


def _row(row: Row, name: str, drawn: Chart, top: int) -> Iterator[str]:
    base = top + 14
    bold = " b" if row.critical else ""
    bad = " badt" if row.failed else ""
    lasted = _text(figures.duration(row.duration_s))
    if row.critical:
        yield f'<text class="b{bad}" x="{_MARGIN - 14}" y="{base}">▸</text>'
    full = f"<title>{_text(row.name)}</title>"
    yield f'<text class="n{bold}{bad}" x="{_MARGIN}" y="{base}">{full}{_text(name)}</text>'
    yield f'<text class="e dim" x="{_BARS - 10}" y="{base}">{lasted}</text>'
    first, last = float(_WIDTH), 0.0
    look = f"bar {'bad' if row.failed else row.resource.value}{' crit' if row.critical else ''}"
    for start_s, end_s in row.stretches:
        x = min(_x(start_s, drawn), _WIDTH - _MARGIN - 2.0)
        wide = max(2.0, _x(end_s, drawn) - x)
        first, last = min(first, x), max(last, x + wide)
        yield f'<rect class="{look}" x="{x:.1f}" y="{top + 4}" width="{wide:.1f}" height="{_BAR}" rx="2"/>'
    yield from _beside(row, first, last, base)


def _beside(row: Row, first: float, last: float, base: int) -> Iterator[str]:
    """The fullest wording that fits behind the bar, before it or in it."""
    bad = " badt" if row.failed else ""
    for words in row.words:
        wide = columns(words) * _LETTER + 12
        if wide <= _WIDTH - _MARGIN - last:
            yield f'<text class="dim{bad}" x="{last + 7:.1f}" y="{base}">{_text(words)}</text>'
            return
        if wide <= first - _BARS:
            yield f'<text class="dim e{bad}" x="{first - 7:.1f}" y="{base}">{_text(words)}</text>'
            return
        if wide <= last - first:
            look = "in" if row.critical else "n"
            yield f'<text class="{look}" x="{first + 7:.1f}" y="{base}">{_text(words)}</text>'
            return


def _ready(drawn: Chart, bottom: int) -> Iterator[str]:
    if drawn.ready_s is None:
        return
    x = _x(drawn.ready_s, drawn)
    yield f'<path class="ready" d="M{x:.1f} {_TOP - 8}V{bottom + 4}"/>'
    words = _text(f"READY {figures.duration(drawn.ready_s)}")
    yield f'<text class="e b readyt" x="{x:.1f}" y="{bottom + 17}">{words}</text>'


def _story(told: list[tuple[str, str]], top: int) -> Iterator[str]:
    for at, (key, line) in enumerate(told):
        y = top + 18 * at
        bad = " badt" if key in {"failed", "degraded"} else ""
        if key:
            yield f'<text class="b{bad}" x="{_MARGIN}" y="{y}">{_text(key)}</text>'
        yield f'<text x="{_MARGIN + 80}" y="{y}">{_text(line)}</text>'


def _lines(key: str, text: str) -> Iterator[tuple[str, str]]:
    import textwrap  # noqa: PLC0415 - brings the regular expressions, which a picture alone needs

    room = int((_WIDTH - 2 * _MARGIN - 80) / 7.4)
    for line in textwrap.wrap(text, room, break_on_hyphens=False):
        yield key, line
        key = ""


def _x(at_s: float, drawn: Chart) -> float:
    share = min(1.0, max(0.0, at_s / drawn.end_s)) if drawn.end_s > 0 else 0.0
    return _BARS + share * (_WIDTH - _MARGIN - _BARS)


def _text(text: str) -> str:
    """Safe in an element and in an attribute; characters that XML forbids are shown as `?`."""
    return escape(plain(text))
