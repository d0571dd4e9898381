"""Every point of a bench as one SVG: time to ready, and below it the first calls by shape of input.

A row for each kind, a dot for each start, a tick for the median; a dashed one for the warm requests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from typing import Protocol

from coldstart_sdk.cli.spread import Spread
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.elide import elide
from coldstart_sdk.trace.rows import ticks

_WIDTH, _LEFT, _TOP, _ROW = 880, 290, 64, 30
_LABEL_CHARS = 36
_STYLE = (
    "svg{font:12px ui-monospace,Menlo,Consolas,monospace}.page{fill:#fff;stroke:#d0d7de}text{fill:#1f2328}"
    ".dim{fill:#59636e}.grid{stroke:#e4e8ec}.dot{fill:#0969da;fill-opacity:.55}.mid{stroke:#cf222e;stroke-width:2}"
    ".e{text-anchor:end}.warm{stroke:#9a6700;stroke-width:2;stroke-dasharray:3 2}"
    "@media(prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}.dim{fill:#9198a1}"
    ".grid{stroke:#262c34}.dot{fill:#58a6ff}.mid{stroke:#ff7b72}.warm{stroke:#d29922}}"
)


class _Line(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def ready_s(self) -> Spread | None: ...


class _Shape(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def shape(self) -> str: ...
    @property
    def first_s(self) -> Spread | None: ...
    @property
    def warm_s(self) -> Spread | None: ...


@dataclass(frozen=True, kw_only=True)
class _Row:
    label: str
    spread: Spread
    warm: Spread | None = None


def plot(lines: Sequence[_Line], shapes: Sequence[_Shape], name: str) -> str:
    """The text of an `.svg` file."""
    kinds = {(shape.state, shape.variant) for shape in shapes}
    starts = [
        _Row(label=f"{line.state}, {line.variant}", spread=line.ready_s) for line in lines if line.ready_s
    ]
    firsts = [
        _Row(label=_label(shape, alone=len(kinds) == 1), spread=shape.first_s, warm=shape.warm_s)
        for shape in shapes
        if shape.first_s
    ]
    panels = [(f"{name}: time to ready", starts), ("first request by shape; dashed: warm", firsts)]
    parts: list[str] = []
    height = 0
    for title, rows in panels:
        if rows:
            parts += _panel(title, rows, height)
            height += _TOP + _ROW * len(rows) + 20
    title = escape(panels[0][0])
    return "\n".join(
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" width="{_WIDTH}"',
            f'height="{height}" role="img" aria-label="{title}">',
            f"<title>{title}</title><style>{_STYLE}</style>",
            f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{height - 1}" rx="8"/>',
            *parts,
            "</svg>\n",
        )
    )


def _label(shape: _Shape, *, alone: bool) -> str:
    return shape.shape if alone else f"{shape.shape} {shape.state}, {shape.variant}"


def _panel(title: str, rows: Sequence[_Row], above: int) -> Iterator[str]:
    most_s = max(max(spread.points) for row in rows for spread in (row.spread, row.warm) if spread) * 1.05
    top = above + _TOP
    yield f'<text x="20" y="{above + 28}" font-size="15" font-weight="600">{escape(title)}</text>'
    yield from _grid(most_s, top, top + _ROW * len(rows))
    for at, row in enumerate(rows):
        yield from _row(row, top + _ROW * at, most_s)


def _grid(most_s: float, top: int, bottom: int) -> Iterator[str]:
    for at_s, words in ticks(most_s, 7):
        x = _x(at_s, most_s)
        yield f'<path class="grid" d="M{x:.1f} {top - 6}V{bottom}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{top - 12}">{words}</text>'


def _row(row: _Row, top: int, most_s: float) -> Iterator[str]:
    middle = top + _ROW / 2
    shown = escape(elide(row.label, _LABEL_CHARS, "…"))
    yield f'<text x="20" y="{middle + 4}">{shown}<title>{escape(row.label)}</title></text>'
    for point in row.spread.points:
        said = f"<title>{escape(figures.duration(point))}</title>"
        yield f'<circle class="dot" cx="{_x(point, most_s):.1f}" cy="{middle}" r="5">{said}</circle>'
    if row.warm:
        x = _x(row.warm.median, most_s)
        said = f"<title>warm: {escape(figures.duration(row.warm.median))}</title>"
        yield f'<path class="warm" d="M{x:.1f} {middle - 9}V{middle + 9}">{said}</path>'
    x = _x(row.spread.median, most_s)
    yield f'<path class="mid" d="M{x:.1f} {middle - 9}V{middle + 9}"/>'
    words, is_near_the_end = figures.duration(row.spread.median), x > _WIDTH - 90
    beside, look = (x - 9, "dim e") if is_near_the_end else (x + 9, "dim")
    yield f'<text class="{look}" x="{beside:.1f}" y="{middle - 6}">{words}</text>'


def _x(at_s: float, most_s: float) -> float:
    return _LEFT + at_s / most_s * (_WIDTH - _LEFT - 24) if most_s else float(_LEFT)
