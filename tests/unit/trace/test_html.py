"""The one HTML file of a start: whole, safe, and the same trace inside."""

from __future__ import annotations

import json
import re
from dataclasses import replace

import pytest

from coldstart_sdk.trace.html import render
from coldstart_sdk.trace.model import Trace
from tests.unit.trace.starts import STARTS


def inside(page: str) -> Trace:
    match = re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)
    assert match
    return Trace.from_json(json.dumps(json.loads(match[1])["trace"]))


@pytest.mark.parametrize("name", STARTS)
def test_the_trace_can_be_read_back_from_the_page(name: str) -> None:
    assert inside(render(STARTS[name])) == STARTS[name]


def test_the_page_asks_for_nothing_from_anywhere() -> None:
    page = render(STARTS["tts"])

    assert "default-src 'none'" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page)
    assert not re.findall(r"https?://|@import|url\(", page)


def test_a_name_cannot_end_the_element_it_stands_in() -> None:
    hostile = replace(STARTS["tts"], name="</script><script>alert(1)</script>", reason="<!--\u2028")
    page = render(hostile)

    assert "alert(1)</script>" not in page.replace("\\u003c", "<")[: page.index('id="data"')]
    assert page.count("</script>") == 2
    assert inside(page) == hostile


def test_the_title_says_what_it_came_to() -> None:
    assert "<title>f5-tts on local: ready in 12.3 s</title>" in render(STARTS["tts"])
    assert "<title>f5-tts on local: failed</title>" in render(STARTS["failed_load"])
