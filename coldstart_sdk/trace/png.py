"""The picture of a start as pixels, for where an SVG is not shown: the same drawing, twice as large, light.

It reads the SVG that `svg` draws, and knows what stands in that one: rectangles, straight lines and text.
"""

from __future__ import annotations

import importlib.util
import io
import re
import xml.etree.ElementTree as ET
from contextlib import suppress
from typing import Any

from coldstart_sdk.errors import UsageError
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.svg import render_svg

_SCALE = 2
_WHITE, _TEXT, _DIM = (255, 255, 255), (31, 35, 40), (89, 99, 110)
_COLOURS = {
    "net": (9, 105, 218),
    "disk": (130, 80, 223),
    "cpu": (188, 76, 0),
    "gpu": (26, 127, 55),
    "wait": (129, 139, 152),
    "bad": (207, 34, 46),
}
_WORDS = {"badt": _COLOURS["bad"], "in": _WHITE, "readyt": _COLOURS["gpu"], "dim": _DIM, "axis": _DIM}
_LINES = {"grid": (228, 232, 236), "ready": _COLOURS["gpu"], "page": (208, 215, 222)}
_PALE = 0.22
_FONTS = ("DejaVuSansMono.ttf", "Menlo.ttc", "Consolas.ttf", "LiberationMono-Regular.ttf")
_MARK, _PLAINER = "▸", str.maketrans({"→": ">", "▸": ">", "…": "..", "×": "x", "−": "-", "≈": "~"})
_SIZE, _TITLE_SIZE = 12, 15

Colour = tuple[int, int, int]


def render_png(trace: Trace) -> bytes:
    """The content of a `.png` file."""
    refuse_without_pillow()
    from PIL import Image, ImageDraw  # noqa: PLC0415 - an extra, and only for pixels

    drawing = ET.fromstring(render_svg(trace))  # noqa: S314 - drawn here, a moment ago
    size = tuple(int(float(drawing.get(side, "0"))) * _SCALE for side in ("width", "height"))
    image = Image.new("RGB", size, _WHITE)
    pen = _Pen(ImageDraw.Draw(image))
    for element in drawing:
        pen.draw(element)
    held = io.BytesIO()
    image.save(held, "PNG", optimize=True)
    return held.getvalue()


def refuse_without_pillow() -> None:
    if importlib.util.find_spec("PIL") is None:
        raise UsageError(
            "a PNG is drawn by Pillow, which is not installed",
            fix='pip install "coldstart-sdk[png]", or take the picture as it is: start.svg',
        )


class _Pen:
    def __init__(self, canvas: Any) -> None:  # noqa: ANN401 - Pillow's
        self._canvas = canvas
        self._fonts = {size: _font(size * _SCALE) for size in (_SIZE, _TITLE_SIZE)}

    def draw(self, element: ET.Element) -> None:
        classes = frozenset(element.get("class", "").split())
        match element.tag.rpartition("}")[2]:
            case "rect":
                self._rectangle(element, classes)
            case "path":
                self._line(element, classes)
            case "text":
                self._text(element, classes)
            case _:
                pass  # a title or the style

    def _rectangle(self, element: ET.Element, classes: frozenset[str]) -> None:
        x, y, wide, high = (_number(element, name) for name in ("x", "y", "width", "height"))
        box = (x, y, max(x + 1, x + wide - 1), y + high - 1)
        edge, inside = _LINES["page"], _WHITE
        if "bar" in classes:
            edge = next(colour for name, colour in _COLOURS.items() if name in classes)
            inside = _WHITE if "wait" in classes else edge if "crit" in classes else _pale(edge)
        self._canvas.rounded_rectangle(box, _number(element, "rx"), fill=inside, outline=edge, width=_SCALE)

    def _line(self, element: ET.Element, classes: frozenset[str]) -> None:
        x, top, bottom = (float(figure) * _SCALE for figure in re.findall(r"[\d.]+", element.get("d", "")))
        colour = next(colour for name, colour in _LINES.items() if name in classes)
        self._canvas.line((x, top, x, bottom), fill=colour, width=_SCALE)

    def _text(self, element: ET.Element, classes: frozenset[str]) -> None:
        x, y = _number(element, "x"), _number(element, "y")
        words = "".join([element.text or "", *(child.tail or "" for child in element)])
        colour = next((colour for name, colour in _WORDS.items() if name in classes), _TEXT)
        if words == _MARK:
            self._mark(x, y, colour)
            return
        font = self._fonts[_TITLE_SIZE if "title" in classes else _SIZE]
        anchor = "rs" if "e" in classes else "ls"
        bold = classes & {"b", "title"}
        for shift in (0, 1) if bold else (0,):
            self._canvas.text((x + shift, y), _known(words, font), font=font, fill=colour, anchor=anchor)

    def _mark(self, x: float, y: float, colour: Colour) -> None:
        """The sign of the critical path, which many fonts lack."""
        high = _SIZE * _SCALE * 0.6
        self._canvas.polygon([(x, y - high), (x + high * 0.8, y - high / 2), (x, y)], fill=colour)


def _number(element: ET.Element, name: str) -> float:
    return float(element.get(name, "0")) * _SCALE


def _pale(colour: Colour) -> Colour:
    red, green, blue = (round(255 - (255 - part) * _PALE) for part in colour)
    return red, green, blue


def _font(size: int) -> Any:  # noqa: ANN401 - Pillow's
    """A font of the system with letters of one width, or Pillow's own."""
    from PIL import ImageFont  # noqa: PLC0415 - as above

    for name in _FONTS:
        with suppress(OSError):
            return ImageFont.truetype(name, size)
    return ImageFont.load_default(size)


def _known(words: str, font: Any) -> str:  # noqa: ANN401 - as above
    """Words that the font has letters for: Pillow's own knows few signs."""
    return words if isinstance(font.path, str) else words.translate(_PLAINER)
