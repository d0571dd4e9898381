"""The HTML file of a start in a real browser: it draws, answers to keys and pointer, and says no error.

Needs Playwright and a Chromium; skipped by name where either is absent.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from coldstart_sdk.trace.chrome import to_json
from coldstart_sdk.trace.html import render
from coldstart_sdk.trace.model import Trace
from tests.commands import a_project, coldstart
from tests.unit.trace.starts import STARTS
from tests.unit.trace.test_files import SCHEMA

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")


class Page:
    """One page, and whatever it complained of or asked for."""

    def __init__(self, browser: Any, file: Path, scheme: str) -> None:  # noqa: ANN401 - Playwright's browser
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1280, "height": 900})
        self.page = context.new_page()
        self.complaints: list[str] = []
        self.asked: list[str] = []
        self.page.on("console", lambda said: self.complaints.append(said.text))
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        self.page.goto(file.as_uri())

    def rows(self) -> list[str]:
        return [str(text) for text in self.page.locator("#rows th.n button").all_text_contents()]

    def axis(self) -> str:
        return str(self.page.locator("#axis").inner_text())


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox"])
        yield launched
        launched.close()


@pytest.fixture
def opened(browser: Any, tmp_path: Path) -> Any:  # noqa: ANN401 - a function of its own
    def open_page(name: str = "tts", scheme: str = "light") -> Page:
        file = tmp_path / f"{name}.html"
        file.write_text(render(STARTS[name]), encoding="utf-8")
        return Page(browser, file, scheme)

    return open_page


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", STARTS)
def test_every_start_is_drawn_without_a_complaint_or_a_request(opened: Any, name: str, scheme: str) -> None:  # noqa: ANN401 - as above
    page = opened(name, scheme)

    steps = {step.name for step in STARTS[name].steps}
    assert steps <= {row.strip("▸▾ ◆") for row in page.rows()}
    assert page.complaints == []
    assert [url for url in page.asked if not url.startswith(("file:", "data:"))] == []


def test_the_arrow_keys_walk_through_the_rows_and_tell_each(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()

    for _ in range(4):
        page.page.keyboard.press("ArrowDown")

    focused = page.page.evaluate("document.activeElement.title")
    assert focused in page.page.locator("#detail").inner_text()


def test_enter_opens_the_parts_of_a_step(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()
    assert "numpy" not in page.rows()

    page.page.locator('button[title="import:torch"]').focus()
    page.page.keyboard.press("Enter")

    assert "numpy" in page.rows()
    assert page.page.evaluate("document.activeElement.getAttribute('aria-expanded')") == "true"


def test_plus_zooms_and_nought_shows_all_again(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()
    before = page.axis()

    page.page.keyboard.press("+")
    page.page.keyboard.press("+")
    zoomed = page.axis()
    page.page.keyboard.press("0")

    assert zoomed not in {before, page.axis()}


def test_a_drag_over_the_bars_shows_that_stretch(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()
    box = page.page.locator("#axis").bounding_box()
    y = box["y"] + 60

    page.page.mouse.move(box["x"] + box["width"] * 0.25, y)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + box["width"] * 0.5, y)
    page.page.mouse.up()

    assert " to " in page.page.locator("#window").inner_text()


def test_pointing_at_a_fetch_tells_its_bytes_and_its_speed(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()

    page.page.locator('tr:has(button[title="fetch:f5"]) td.t').hover()

    told = page.page.locator("#tip").inner_text()
    assert "1.35 GB" in told
    assert "MB/s" in told


def test_on_a_narrow_screen_the_bars_are_seen_without_scrolling(opened: Any) -> None:  # noqa: ANN401 - as above
    shown = opened()
    shown.page.set_viewport_size({"width": 400, "height": 800})

    chart = shown.page.locator(".scroll").bounding_box()
    axis = shown.page.locator("#axis").bounding_box()

    assert axis["x"] + axis["width"] <= chart["x"] + chart["width"] + 1
    assert axis["width"] > 150


def test_no_word_of_the_axis_is_cut_off(opened: Any) -> None:  # noqa: ANN401 - as above
    shown = opened()
    axis = shown.page.locator("#axis").bounding_box()

    for word in shown.page.locator("#axis span").all():
        box = word.bounding_box()
        assert box["x"] + box["width"] <= axis["x"] + axis["width"]


def test_rows_can_be_grouped_by_resource(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened()

    page.page.keyboard.press("g")

    groups = page.page.locator("tr.group").all_text_contents()
    assert any(group.startswith("network") for group in groups)
    assert page.page.locator("#group").get_attribute("aria-pressed") == "true"


def test_a_trace_of_another_target_opens_in_the_same_page(opened: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    page = opened()
    other = tmp_path / "other.json"
    other.write_text(STARTS["ten_minutes"].to_json(), encoding="utf-8")

    page.page.set_input_files("#file", str(other))

    page.page.locator("#title").filter(has_text="multitalk").wait_for()
    assert page.complaints == []


def test_what_is_no_trace_is_said_so(opened: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    page = opened()
    other = tmp_path / "other.json"
    other.write_text("{}", encoding="utf-8")

    page.page.set_input_files("#file", str(other))

    page.page.locator("#failure").filter(has_text="cannot be shown").wait_for()


def test_on_paper_there_are_no_buttons_and_every_bar(opened: Any) -> None:  # noqa: ANN401 - as above
    page = opened(scheme="dark")

    page.page.emulate_media(media="print")

    assert not page.page.locator("#in").is_visible()
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert page.page.locator("td.t i").count() >= len(STARTS["tts"].steps)


def test_assistive_technology_finds_nothing_serious(opened: Any) -> None:  # noqa: ANN401 - as above
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = opened()

    found = axe.Axe().run(page.page).response["violations"]

    assert [violation["id"] for violation in found if violation["impact"] in {"serious", "critical"}] == []


@pytest.mark.parametrize("target", ["local", "runpod", "modal"])
def test_a_start_of_each_target_opens_in_the_same_page(browser: Any, tmp_path: Path, target: str) -> None:  # noqa: ANN401 - as above
    budget: tuple[str, ...] = ("--budget", "ready=100s", "--target", target, "--json", "--warm", "1")
    if target != "local":
        pytest.importorskip(target)
        budget += ("--set", "state=empty")
    started = coldstart(
        *("check", str(a_project(tmp_path)), "speak", "-i", "text=hi", *budget),
        env={"COLDSTART_HOME": str(tmp_path / "home")},
    )
    assert started.code == 0, started.err
    trace = Trace.from_json(Path(started.data["trace"]).read_text())
    file = tmp_path / "start.html"
    file.write_text(render(trace), encoding="utf-8")

    page = Page(browser, file, "light")

    assert any(row.startswith("load:load") for row in page.rows())
    assert page.complaints == []
    assert page.page.title().startswith(f"voice on {target}")
    jsonschema.validate(json.loads(to_json(trace)), SCHEMA)
