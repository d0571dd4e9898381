"""The files that other programs open: Chrome Trace Event JSON, and SVG."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from collections import defaultdict
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from PIL import Image

from coldstart_sdk.events import Outcome
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.chrome import to_events, to_json
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.png import render_png
from coldstart_sdk.trace.svg import render_svg
from tests.unit.trace.starts import STARTS, a_plan, began, ran, ready, tts

SCHEMA = json.loads((Path(__file__).parent / "trace_event.schema.json").read_text(encoding="utf-8"))


def chrome(trace: Trace) -> list[dict[str, Any]]:
    events: list[dict[str, Any]] = json.loads(to_json(trace))["traceEvents"]
    return events


@pytest.mark.parametrize("name", STARTS)
def test_perfetto_json_keeps_to_the_schema_of_its_format(name: str) -> None:
    jsonschema.validate(json.loads(to_json(STARTS[name])), SCHEMA)


def test_the_schema_refuses_what_the_viewer_would_not_read() -> None:
    whole = to_events(tts())
    for spoiled in ({"ph": "Z"}, {"ts": -1.0}, {"cname": "thread_state_crimson"}, {"pid": "one"}):
        slices = [event for event in whole["traceEvents"] if event["ph"] == "X"]

        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate({"traceEvents": [{**slices[0], **spoiled}]}, SCHEMA)


@pytest.mark.parametrize("name", STARTS)
def test_slices_of_one_track_nest_or_lie_apart(name: str) -> None:
    tracks = defaultdict(list)
    for event in chrome(STARTS[name]):
        if event["ph"] == "X":
            tracks[event["tid"]].append((event["ts"], event["ts"] + event["dur"]))

    for slices in tracks.values():
        for start, end in slices:
            assert not [other for other, stop in slices if start < other < end - 0.01 and stop > end + 0.01]


@pytest.mark.parametrize("name", STARTS)
def test_no_moment_is_before_the_first(name: str) -> None:
    assert all(event.get("ts", 0) >= 0 for event in chrome(STARTS[name]))


def test_each_resource_has_tracks_of_its_own() -> None:
    names = {event["args"]["name"] for event in chrome(tts()) if event["name"] == "thread_name"}

    assert {"net", "net 2", "cpu", "gpu"} <= names


def test_an_arrow_goes_from_each_dependency_to_the_step_that_waited_for_it() -> None:
    events = chrome(tts())
    slices = {event["name"]: event for event in events if event["ph"] == "X"}
    arrows: defaultdict[int, dict[str, dict[str, Any]]] = defaultdict(dict)
    for event in events:
        if event["ph"] in {"s", "f"}:
            arrows[event["id"]][event["ph"]] = event

    ends = {(arrow["s"]["tid"], arrow["f"]["ts"]) for arrow in arrows.values()}
    assert (slices["fetch:f5"]["tid"], slices["load:load"]["ts"]) in ends
    assert all(arrow["s"]["ts"] <= arrow["f"]["ts"] for arrow in arrows.values())


def test_slices_say_whether_they_are_critical() -> None:
    slices = {event["name"]: event["args"]["critical"] for event in chrome(tts()) if event["ph"] == "X"}

    assert slices["fetch:f5"] is True
    assert slices["import:torch"] is False


def test_a_counter_ends_at_all_the_bytes_that_moved() -> None:
    counted = [event["args"]["MB so far"] for event in chrome(tts()) if event["name"] == "MB so far"]

    assert counted == sorted(counted)
    assert counted[-1] == 1404


def test_the_file_says_which_start_it_is() -> None:
    other = to_events(tts())["otherData"]

    assert (other["name"], other["backend"], other["machine"]["cores"]) == ("f5-tts", "local", "4")


@pytest.mark.parametrize("name", STARTS)
def test_a_picture_is_well_formed_and_names_what_came_first(name: str) -> None:
    root = ET.fromstring(render_svg(STARTS[name]))  # noqa: S314 - our own text

    titles = {title.text for title in root.iter("{http://www.w3.org/2000/svg}title")}
    assert {"interpreter", "sdk"} <= titles


def test_a_picture_asks_nothing_of_the_network_and_follows_the_readers_scheme() -> None:
    drawn = render_svg(tts())

    assert "prefers-color-scheme" in drawn
    assert drawn.count("http") == drawn.count("http://www.w3.org/2000/svg")
    assert "<script" not in drawn


def test_a_name_cannot_break_out_of_the_picture() -> None:
    reason = '</text><script>alert("x")</script>\x00'
    trace = build([*began(), *ran("load:<b>&", 1, 2, Outcome.FAILED, reason)], a_plan(), wall_start=None)

    root = ET.fromstring(render_svg(trace))  # noqa: S314 - our own text

    assert not list(root.iter("{http://www.w3.org/2000/svg}script"))


def test_two_drawings_of_one_start_are_the_same_bytes() -> None:
    assert render_svg(tts()) == render_svg(tts())


def test_the_worker_half_of_the_trace_imports_no_picture() -> None:
    code = "import sys; had = {*sys.modules}; import coldstart_sdk.trace.build; print(*{*sys.modules} - had)"

    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    ours = {name for name in loaded.split() if name.startswith("coldstart_sdk.trace.")}
    assert ours == {f"coldstart_sdk.trace.{name}" for name in ("build", "model", "path")}
    assert not {"statistics", "textwrap", "pydantic", "asyncio"} & set(loaded.split())


def test_ready_is_a_moment_that_a_viewer_shows() -> None:
    trace = build([*began(), *ran("load:load", 1, 2), *ready(2)], None, wall_start=None)

    assert [event["ts"] for event in chrome(trace) if event["name"] == "ready"] == [2e6]


# ---- PNG


@pytest.mark.parametrize("name", STARTS)
def test_a_png_is_its_svg_twice_as_large(name: str) -> None:
    drawn, svg = Image.open(io.BytesIO(render_png(STARTS[name]))), ET.fromstring(render_svg(STARTS[name]))  # noqa: S314 - our own

    assert drawn.format == "PNG"
    assert drawn.size == (2 * int(svg.get("width", "")), 2 * int(svg.get("height", "")))


def test_every_resource_has_its_colour_in_a_png() -> None:
    drawn = Image.open(io.BytesIO(render_png(tts())))
    colours = {colour for _, colour in drawn.getcolors(1 << 24) or ()}

    assert {(9, 105, 218), (26, 127, 55), (188, 76, 0)} <= colours


def test_a_failed_start_is_told_in_red_in_a_png() -> None:
    colours = {
        colour
        for _, colour in Image.open(io.BytesIO(render_png(STARTS["failed_load"]))).getcolors(1 << 24) or ()
    }

    assert (207, 34, 46) in colours
