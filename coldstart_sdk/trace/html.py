"""One start as one HTML file that needs nothing else: no network, no fonts, no build.

Beside the waterfall it holds the trace itself, so the file can be read by a program too; and it opens other
traces that are chosen from disk, whatever target they come from.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from html import escape
from importlib.resources import files
from typing import Any

from coldstart_sdk import record
from coldstart_sdk.trace import figures
from coldstart_sdk.trace.elide import plain
from coldstart_sdk.trace.model import Trace

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; \
script-src 'unsafe-inline'; img-src data:">
<link rel="icon" href="data:,">
<title>{title}</title>
<style>{style}</style>
</head>
<body>
<main>
<h1 id="title">{title}</h1>
<p class="dim" id="when"></p>
<p id="failure" role="status"></p>
<dl class="figures" id="figures"></dl>
<div class="bar">
<button type="button" id="in" aria-label="zoom in">+</button>
<button type="button" id="out" aria-label="zoom out">−</button>
<button type="button" id="all">whole</button>
<button type="button" id="group" aria-pressed="false">by resource</button>
<button type="button" id="expand">parts</button>
<button type="button" id="theme">light or dark</button>
<button type="button" id="print">print</button>
<label class="open">open a trace<input type="file" id="file" accept=".json,application/json"></label>
<span class="dim" id="window" aria-live="polite"></span>
<span class="legend" id="legend"></span>
</div>
<div class="scroll" tabindex="0" role="region" aria-label="waterfall">
<table id="chart">
<colgroup><col class="n"><col class="d"><col></colgroup>
<thead><tr>
<th scope="col">step</th><th scope="col">took</th><th scope="col" class="axis" id="axis">time</th>
</tr></thead>
<tbody id="rows"></tbody>
</table>
</div>
<div id="detail" aria-live="polite"></div>
<p class="dim keys">Keys: <kbd>↑</kbd> <kbd>↓</kbd> rows, <kbd>Enter</kbd> parts, <kbd>+</kbd> <kbd>-</kbd> \
<kbd>0</kbd> zoom, <kbd>←</kbd> <kbd>→</kbd> move, <kbd>g</kbd> by resource, <kbd>e</kbd> all parts, \
<kbd>t</kbd> theme. Drag over the bars, or Shift and the wheel, to zoom.</p>
<section id="why" hidden><h2>What could be saved</h2><ol class="advice" id="advice"></ol></section>
<details><summary>Machine and notes</summary>
<dl class="facts" id="machine"></dl><ul id="notes"></ul></details>
</main>
<div id="tip" role="tooltip" aria-hidden="true" hidden></div>
<noscript><p>A script in this file draws the waterfall; the trace itself is the JSON below.</p></noscript>
<script type="application/json" id="data">{data}</script>
<script>{script}</script>
</body>
</html>
"""


def render(trace: Trace, *, explained: Mapping[str, Any] | None = None) -> str:
    """The whole file; `explained` is an explanation as plain data."""
    return _PAGE.format(
        title=escape(plain(_title(trace))),
        style=_asset("page.css"),
        script=_asset("page.js"),
        data=_embedded({"trace": record.to_data(trace), "explained": explained}),
    )


def _title(trace: Trace) -> str:
    name = " on ".join(part for part in (trace.name or "cold start", trace.backend) if part)
    if trace.anchors.ready_s is None:
        return f"{name}: {trace.state.value}"
    return f"{name}: ready in {figures.duration(trace.anchors.ready_s)}"


def _asset(name: str) -> str:
    return (files("coldstart_sdk.trace") / "viewer" / name).read_text(encoding="utf-8")


def _embedded(data: object) -> str:
    """JSON that cannot end the element it stands in."""
    text = json.dumps(data, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
