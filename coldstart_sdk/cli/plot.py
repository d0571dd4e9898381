"""Every point of a bench as one SVG: a row for each kind, a tick for the median, a dot for each start."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import Protocol

from coldstart_sdk.trace import figures
from coldstart_sdk.trace.rows import ticks

_WIDTH, _LEFT, _TOP, _ROW = 880, 250, 64, 30
_STYLE = (
    "svg{font:12px ui-monospace,Menlo,Consolas,monospace}.page{fill:#fff;stroke:#d0d7de}text{fill:#1f2328}"
    ".dim{fill:#59636e}.grid{stroke:#e4e8ec}.dot{fill:#0969da;fill-opacity:.55}.mid{stroke:#cf222e;stroke-width:2}"
    "@media(prefers-color-scheme:dark){.page{fill:#0d1117;stroke:#3d444d}text{fill:#e6edf3}.dim{fill:#9198a1}"
    ".grid{stroke:#262c34}.dot{fill:#58a6ff}.mid{stroke:#ff7b72}}"
)


class _Points(Protocol):
    @property
    def median(self) -> float: ...
    @property
    def points(self) -> tuple[float, ...]: ...


class _Line(Protocol):
    @property
    def state(self) -> str: ...
    @property
    def variant(self) -> str: ...
    @property
    def ready_s(self) -> _Points: ...


def plot(lines: Sequence[_Line], name: str) -> str:
    """The text of an `.svg` file."""
    most_s = max(max(line.ready_s.points) for line in lines) * 1.05
    bottom = _TOP + _ROW * len(lines)
    title = escape(f"{name}: time to ready")
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {bottom + 20}" width="{_WIDTH}"',
        f'height="{bottom + 20}" role="img" aria-label="{title}">',
        f"<title>{title}</title><style>{_STYLE}</style>",
        f'<rect class="page" x=".5" y=".5" width="{_WIDTH - 1}" height="{bottom + 19}" rx="8"/>',
        f'<text x="20" y="28" font-size="15" font-weight="600">{title}</text>',
        *_grid(most_s, bottom),
        *(part for at, line in enumerate(lines) for part in _row(line, _TOP + _ROW * at, most_s)),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def _grid(most_s: float, bottom: int) -> Iterator[str]:
    for at_s, words in ticks(most_s, 7):
        x = _x(at_s, most_s)
        yield f'<path class="grid" d="M{x:.1f} {_TOP - 6}V{bottom}"/>'
        yield f'<text class="dim" x="{x:.1f}" y="{_TOP - 12}">{words}</text>'


def _row(line: _Line, top: int, most_s: float) -> Iterator[str]:
    middle = top + _ROW / 2
    spread = line.ready_s
    yield f'<text x="20" y="{middle + 4}">{escape(f"{line.state}, {line.variant}")}</text>'
    for point in spread.points:
        said = f"<title>{escape(figures.duration(point))}</title>"
        yield f'<circle class="dot" cx="{_x(point, most_s):.1f}" cy="{middle}" r="5">{said}</circle>'
    x = _x(spread.median, most_s)
    yield f'<path class="mid" d="M{x:.1f} {middle - 9}V{middle + 9}"/>'
    words, beside = figures.duration(spread.median), min(x + 9, _WIDTH - 70)
    yield f'<text class="dim" x="{beside:.1f}" y="{middle - 6}">{words}</text>'


def _x(at_s: float, most_s: float) -> float:
    return _LEFT + at_s / most_s * (_WIDTH - _LEFT - 24) if most_s else float(_LEFT)
