"""The page in a real browser: a start is followed, forms are sent, answers are shown, and nothing complains.

Needs Playwright and a Chromium; skipped by name where either is absent.
"""

from __future__ import annotations

import io
import shutil
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coldstart_sdk.serve.options import Options
from tests.serving import TOO_LONG_S, Served, served

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium here")

KINDS = """
from typing import Any

@warm_model(name="kinds", scale=Scale(concurrency=1, queue=0))
class Kinds:
    @hook.load
    def load(self) -> None:
        while (HERE / "hold").exists():
            time.sleep(0.01)
        if (HERE / "fail").exists():
            raise RuntimeError("no voice: <img src=x>")

    @endpoint(default=True)
    def speak(self, text: str, steps: int = 10, seed: int | None = None) -> dict[str, Any]:
        return {"text": text, "steps": steps, "seed": seed}

    @endpoint
    def echo(self, sound: Audio) -> Audio:
        return sound

    @endpoint
    def write(self, words: int = 2) -> Iterator[str]:
        yield "one "
        while (HERE / "hold").exists():
            time.sleep(0.01)
        yield "two <b>"

    @endpoint
    def page(self) -> File:
        return File.from_bytes(b"<script>alert(1)</script>", "text/html")

    @endpoint
    def wait(self) -> str:
        (HERE / "waits").touch()
        while (HERE / "hold").exists():
            time.sleep(0.01)
        return "over"
"""
REFUSED = "Failed to load resource: the server responded with a status of"
"""What a browser notes of each refusal by itself."""


class Page:
    """The page, and whatever it complained of or asked for elsewhere."""

    def __init__(self, browser: Any, url: str, **context: Any) -> None:  # noqa: ANN401 - Playwright's browser and its options
        self.page = browser.new_context(**context).new_page()
        self.page.set_default_timeout(TOO_LONG_S * 1000)
        self.complaints: list[str] = []
        self.elsewhere: list[str] = []
        self.page.on("console", self._heard)
        self.page.on("pageerror", lambda error: self.complaints.append(str(error)))
        self.page.on("request", self._asked(url))
        self.page.goto(url)

    def _heard(self, said: Any) -> None:  # noqa: ANN401 - Playwright's message
        if not said.text.startswith(REFUSED) and "ERR_CONNECTION" not in said.text:
            self.complaints.append(said.text)

    def _asked(self, url: str) -> Any:  # noqa: ANN401 - a function for Playwright
        def note(request: Any) -> None:  # noqa: ANN401 - as above
            if not request.url.startswith((url, "blob:", "data:")):
                self.elsewhere.append(request.url)

        return note

    def ready(self) -> Page:
        self.page.locator("#word", has_text="ready").wait_for()
        self.page.locator("#picture").wait_for()
        return self

    def form(self, name: str) -> Any:  # noqa: ANN401 - Playwright's locator
        """The form of an endpoint, unfolded."""
        form = self.page.locator(f'form[action="{name}"]')
        if not form.is_visible():
            self.page.locator("summary", has=self.page.get_by_text(f"POST /{name}", exact=True)).click()
        return form

    def send(self, name: str) -> Any:  # noqa: ANN401 - as above
        """Press the button, and wait for the answer."""
        form = self.form(name)
        form.locator(".send").click()
        form.locator('.answer[aria-busy="false"]').wait_for(state="attached")
        return form


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with sync_api.sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        yield launched
        launched.close()


@pytest.fixture
def kinds(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path, KINDS) as running:
        yield running


def a_wav(seconds: float) -> bytes:
    file = io.BytesIO()
    with wave.open(file, "wb") as sound:
        sound.setnchannels(1)
        sound.setsampwidth(2)
        sound.setframerate(8000)
        sound.writeframes(bytes(int(16000 * seconds)))
    return file.getvalue()


def test_a_start_is_followed_until_it_is_ready(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401 - Playwright's browser
    (tmp_path / "hold").touch()
    with served(tmp_path, KINDS, wait=False) as running:
        page = Page(browser, running.url)
        page.page.locator("#how", has_text="load:load").wait_for()
        assert page.page.locator("#progress").is_visible()

        (tmp_path / "hold").unlink()
        page.ready()

        assert not page.page.locator("#progress").is_visible()
        assert "ready in" in page.page.locator("#figures").inner_text()
        page.page.locator("#said", has_text="ready").wait_for(state="attached")
        assert page.complaints == page.elsewhere == []


def test_a_start_that_fails_says_why_as_text(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    (tmp_path / "hold").touch()
    (tmp_path / "fail").touch()
    with served(tmp_path, KINDS, wait=False) as running:
        page = Page(browser, running.url)
        page.page.locator("#how", has_text="load:load").wait_for()

        (tmp_path / "hold").unlink()
        page.page.locator("#word", has_text="failed").wait_for()

        assert "no voice: <img src=x>" in page.page.locator("#problem").inner_text()
        assert page.complaints == []


def test_a_form_is_sent_and_its_answer_shown_digit_for_digit(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url).ready()
    form = page.form("speak")
    form.get_by_label("text").fill('Hello "you"')
    form.get_by_label("seed").fill("9223372036854775807")

    answer = page.send("speak").locator(".answer").inner_text()

    assert r'"text": "Hello \"you\""' in answer
    assert '"steps": 10' in answer
    assert '"seed": 9223372036854775807' in answer
    assert "first byte" in form.locator(".took").inner_text()
    page.page.locator("#requests td", has_text="speak").first.wait_for()
    page.page.locator("#warmth th", has_text="speak").wait_for()
    assert page.complaints == page.elsewhere == []


def test_what_is_wrong_stands_by_its_field_and_the_field_has_the_focus(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url).ready()
    form = page.form("speak")
    form.get_by_label("steps").fill("1.5")

    page.send("speak")

    field = form.locator('.field[data-name="steps"]')
    assert "integer" in field.locator(".error").inner_text()
    assert field.locator("input").get_attribute("aria-invalid") == "true"
    assert page.page.evaluate("document.activeElement.id") == "speak.steps"


def test_an_uploaded_sound_is_heard_before_it_is_sent_and_after(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url).ready()
    form = page.form("echo")
    form.get_by_label("sound").set_input_files(
        {"name": "a.wav", "mimeType": "audio/wav", "buffer": a_wav(0.5)}
    )

    page.send("echo")

    assert form.locator("audio").count() == 2
    for at in range(2):
        played = (
            form.locator("audio").nth(at).evaluate("async (it) => { await it.play(); return it.duration; }")
        )
        assert played == pytest.approx(0.5, abs=0.01)
    assert page.complaints == page.elsewhere == []


def test_a_stream_is_shown_as_it_comes(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    (kinds.folder / "hold").touch()
    page = Page(browser, kinds.url).ready()
    form = page.form("write")

    form.locator(".send").click()
    form.locator("pre", has_text="one").wait_for()
    half = form.locator("pre").first.text_content()
    (kinds.folder / "hold").unlink()
    form.locator(".took", has_text="2 chunks").wait_for()

    assert (half, form.locator("pre").first.text_content()) == ("one ", "one two <b>")


def test_a_page_among_the_results_can_only_be_saved(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url).ready()
    form = page.send("page")

    with page.page.expect_download() as download:
        form.locator(".answer a").click()

    assert download.value.suggested_filename == "page.html"
    assert page.page.url.rstrip("/") == kinds.url
    assert page.complaints == []


def test_a_request_too_many_is_told_so_and_one_that_runs_can_be_stopped(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    (kinds.folder / "hold").touch()
    first, second = Page(browser, kinds.url).ready(), Page(browser, kinds.url).ready()
    waiting = first.form("wait")
    waiting.locator(".send").click()
    kinds.wait_for_file("waits")

    refused = second.send("wait").locator(".refused").inner_text()
    waiting.locator(".stop").click()
    waiting.locator(".took", has_text="stopped after").wait_for()
    (kinds.folder / "hold").unlink()

    assert refused.startswith("429 busy: too many requests")


def test_the_token_opens_the_page_and_is_kept_in_memory_alone(browser: Any, tmp_path: Path) -> None:  # noqa: ANN401 - as above
    with served(tmp_path, KINDS, Options(token="correct-horse")) as running:
        page = Page(browser, running.url)
        page.page.locator("#token").fill("wrong")
        page.page.keyboard.press("Enter")
        page.page.locator("#unlock-error", has_text="does not open").wait_for()
        assert page.page.locator("form").count() == 1

        page.page.locator("#token").fill("correct-horse")
        page.page.keyboard.press("Enter")
        page.ready()
        page.form("speak").get_by_label("text").fill("a")
        answer = page.send("speak").locator(".answer").inner_text()

        assert '"text": "a"' in answer
        kept = page.page.evaluate(
            "[document.cookie, localStorage.length, sessionStorage.length, location.href]"
        )
        assert kept == ["", 0, 0, f"{running.url}/"]
        assert page.page.locator("#token").input_value() == ""


def test_the_keyboard_reaches_the_form_and_sends_it(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url).ready()

    for _ in range(2):  # the fold of the first endpoint, and its first field
        page.page.keyboard.press("Tab")
    page.page.keyboard.type("typed")
    page.page.keyboard.press("Control+Enter")
    page.form("speak").locator("pre", has_text="typed").wait_for()

    assert page.page.evaluate("document.activeElement.id") == "speak.text"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_fits_a_small_screen_and_assistive_technology_finds_nothing(
    browser: Any,  # noqa: ANN401 - as above
    kinds: Served,
    scheme: str,
) -> None:
    axe = pytest.importorskip("axe_playwright_python.sync_playwright", reason="axe is not installed")
    page = Page(browser, kinds.url, color_scheme=scheme, viewport={"width": 320, "height": 640}).ready()
    for name in ("echo", "write", "page", "wait"):
        page.form(name)
    page.form("speak").get_by_label("steps").fill("1.5")
    page.send("speak")

    found = axe.Axe().run(page.page).response["violations"]

    assert page.page.evaluate("document.documentElement.scrollWidth") <= 320
    assert [violation["id"] for violation in found] == []


def test_on_paper_there_are_figures_and_no_buttons(browser: Any, kinds: Served) -> None:  # noqa: ANN401 - as above
    page = Page(browser, kinds.url, color_scheme="dark").ready()

    page.page.emulate_media(media="print")

    assert not page.form("speak").locator(".send").is_visible()
    assert page.page.locator("#picture").is_visible()
    assert page.page.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
