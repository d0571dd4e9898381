"""Draw a start in a terminal: one line a step, bars on a time axis, and beneath it what to know.

Nothing is told by colour alone: what held READY up has a mark and a heavier bar, a failure has its word.
"""

from __future__ import annotations

import itertools
import textwrap
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from coldstart_sdk.events import State
from coldstart_sdk.trace import figures, rows
from coldstart_sdk.trace.elide import columns, elide, elide_all, head, plain
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.rows import Chart, Row
from coldstart_sdk.trace.story import story

_NARROWEST = 40
_TIME_WIDTH = 7
_KEY_WIDTH = 11
_BETWEEN_TICKS = 9
_BAR_AROUND_WORDS = 2
"""Cells of a bar that stay on each side of words that stand in it."""

_BOLD, _DIM, _RED, _GREEN, _CYAN = "1", "2", "31;1", "32;1", "36"


@dataclass(frozen=True, kw_only=True)
class _Ink:
    """The characters that a terminal can show: a bar's full cell, its left half, its right half."""

    critical: str
    beside: str
    wait: str
    ready: str
    mark: str
    elided: str
    arrow: str


_UNICODE = _Ink(critical="█▌▐", beside="━╸╺", wait="···", ready="│", mark="▸", elided="…", arrow=" → ")
_ASCII = _Ink(critical="###", beside="---", wait="...", ready="|", mark="*", elided="..", arrow=" > ")


@dataclass(frozen=True, kw_only=True)
class _Piece:
    text: str
    style: str = ""


def render(
    trace: Trace, *, width: int = 80, colour: bool = False, unicode: bool = True, reasons: bool = True
) -> str:
    """The waterfall as lines of at most `width` columns, the last one ended too.

    Without `reasons` it does not say why the start failed: something else does.
    """
    if not reasons and trace.state is State.FAILED:
        trace = _without_its_reason(trace)
    ink = _UNICODE if unicode else _ASCII
    width = max(width, _NARROWEST)
    lines = [
        *_header(trace, width, ink),
        *_bars(trace, width, ink),
        [],
        *_footer(trace, width, ink, reasons=reasons),
    ]
    return "".join(_paint(line, colour=colour).rstrip() + "\n" for line in lines)


def _header(trace: Trace, width: int, ink: _Ink) -> Iterator[list[_Piece]]:
    name = " on ".join(part for part in (trace.name or "cold start", trace.backend) if part)
    when = (trace.started_at or "")[:19].replace("T", " ")
    when = f"  {when} UTC" if when else ""
    room = width - len(when)
    yield [
        _Piece(text=elide(_plain(name, ink), room, ink.elided).ljust(room), style=_BOLD),
        _Piece(text=when, style=_DIM),
    ]


def _bars(trace: Trace, width: int, ink: _Ink) -> Iterator[list[_Piece]]:
    chart = rows.chart(trace)
    names = _names(chart, width * 3 // 10, ink)
    name_width = max(map(columns, names))
    # mark, name, time and three spaces stand before the bars; the last column is left for READY
    cells = width - 2 - name_width - 1 - _TIME_WIDTH - 2 - 1
    indent = width - cells - 1
    ready = _ready_cell(chart, cells)
    yield [_Piece(text=" " * indent), _Piece(text=_axis(chart.end_s, cells), style=_DIM)]
    for row, name in zip(chart.rows, names, strict=False):
        style = _RED if row.failed else _BOLD if row.critical else ""
        mark = ink.mark if row.critical else " "
        yield [
            *_label(mark, name, row.duration_s, name_width, style),
            *_bar(row, chart.end_s, cells, ready, ink),
        ]
    if ready is not None and chart.ready_s is not None:
        line = _Piece(text=" " * ready + ink.ready, style=_GREEN)
        yield [*_label(" ", "READY", chart.ready_s, name_width, _GREEN), line]
    if chart.answer:
        yield [
            *_label(" ", names[-1], chart.answer.duration_s, name_width, ""),
            *_bar(chart.answer, chart.end_s, cells, ready, ink),
        ]


def _label(mark: str, name: str, lasted_s: float, name_width: int, style: str) -> Iterator[_Piece]:
    yield _Piece(text=f"{mark} {_pad(name, name_width)}", style=style)
    yield _Piece(text=" " + figures.duration(lasted_s).rjust(_TIME_WIDTH) + "  ")


def _names(chart: Chart, width: int, ink: _Ink) -> list[str]:
    """The rows' names, READY and the answer's."""
    rows = (*chart.rows, chart.answer) if chart.answer else chart.rows
    names = [_plain(row.name, ink) for row in rows]
    names.insert(len(chart.rows), "READY")
    return elide_all(names, width, ink.elided)


def _bar(row: Row, end_s: float, cells: int, ready: int | None, ink: _Ink) -> Iterator[_Piece]:
    """The bar, and where there is room the fullest wording that fits."""
    style = _RED if row.failed else _DIM if row.waits else _BOLD if row.critical else _CYAN
    drawn = _cells(row, end_s, cells, ink)
    line = [_Piece(text=cell, style=style) for cell in drawn] + [_Piece(text=" ")]
    if ready is not None and line[ready].text == " ":
        line[ready] = _Piece(text=ink.ready, style=_DIM)
    bar = [at for at, cell in enumerate(drawn) if cell != " "]
    words, start = _placed(row.words, bar[0], bar[-1], cells, ink)
    yield from line[:start]
    if words:
        yield _Piece(text=words, style=_RED if row.failed else "")
    yield from line[start + columns(words) :]


def _placed(words: Sequence[str], first: int, last: int, cells: int, ink: _Ink) -> tuple[str, int]:
    """The wording and its first column: behind the bar if it fits there, else before it, else in it."""
    behind, before, inside = cells - last - 2, first - 1, last - first - 1 - 2 * _BAR_AROUND_WORDS
    for word in (_plain(word, ink) for word in words):
        if columns(word) <= behind:
            return word, last + 2
        if columns(word) <= before:
            return word, first - 1 - columns(word)
        if columns(word) <= inside:
            return f" {word} ", first + _BAR_AROUND_WORDS
    return "", 0


def _cells(row: Row, end_s: float, cells: int, ink: _Ink) -> list[str]:
    """The bar's characters; each cell has two halves, and the shortest stretch fills one."""
    shape = ink.wait if row.waits else ink.critical if row.critical else ink.beside
    filled = [False] * (cells * 2)
    for start_s, stop_s in row.stretches:
        start = min(len(filled) - 1, max(0, _half(start_s, end_s, cells)))
        stop = min(len(filled), max(start + 1, _half(stop_s, end_s, cells)))
        filled[start:stop] = [True] * (stop - start)
    shapes = {(True, True): shape[0], (True, False): shape[1], (False, True): shape[2], (False, False): " "}
    return [shapes[filled[at], filled[at + 1]] for at in range(0, len(filled), 2)]


def _half(at_s: float, end_s: float, cells: int) -> int:
    return round(min(1.0, max(0.0, at_s / end_s)) * cells * 2) if end_s > 0 else 0


def _ready_cell(chart: Chart, cells: int) -> int | None:
    if chart.ready_s is None:
        return None
    return min(cells, (_half(chart.ready_s, chart.end_s, cells) + 1) // 2)


def _axis(end_s: float, cells: int) -> str:
    line = ""
    for at_s, words in rows.ticks(end_s, max(1, cells // _BETWEEN_TICKS)):
        at = _half(at_s, end_s, cells) // 2
        if at >= len(line) + (1 if line else 0) and at + len(words) <= cells + 1:
            line = line.ljust(at) + words
    return line


def _without_its_reason(trace: Trace) -> Trace:
    spans = [
        replace(span, reason=None) if span.reason and span.reason == trace.reason else span
        for span in trace.spans
    ]
    return replace(trace, spans=tuple(spans))


def _footer(trace: Trace, width: int, ink: _Ink, *, reasons: bool) -> Iterator[list[_Piece]]:
    for key, text in story(trace, arrow=ink.arrow, reasons=reasons):
        style = {"ready": _GREEN, "failed": _RED, "degraded": _RED}.get(key, _BOLD)
        label = f"{key} {ink.mark}" if key == "critical" else key
        wrapped = textwrap.wrap(text, width - _KEY_WIDTH, break_on_hyphens=False) or [""]
        told = [_plain(line, ink) for line in wrapped]
        for at, line in enumerate(_narrowed(told, width - _KEY_WIDTH)):
            yield [_Piece(text=(label if at == 0 else "").ljust(_KEY_WIDTH), style=style), _Piece(text=line)]


def _narrowed(lines: Sequence[str], width: int) -> Iterator[str]:
    """The lines again, broken where wide characters made one too long."""
    for line in lines:
        rest = line
        while columns(rest) > width:
            fits = head(rest, width)
            yield fits
            rest = rest[len(fits) :]
        yield rest


def _plain(text: str, ink: _Ink) -> str:
    text = plain(text)
    return text.encode("ascii", "replace").decode("ascii") if ink is _ASCII else text


def _pad(text: str, width: int) -> str:
    return text + " " * (width - columns(text))


def _paint(line: Sequence[_Piece], *, colour: bool) -> str:
    painted = ""
    for style, pieces in itertools.groupby(line, key=lambda piece: piece.style):
        text = "".join(piece.text for piece in pieces)
        painted += f"\x1b[{style}m{text}\x1b[0m" if colour and style and text.strip() else text
    return painted
