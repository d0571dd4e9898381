"""What the page asks the server for, asked without a browser."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from coldstart_sdk.events import now
from coldstart_sdk.serve.options import Options
from tests.serving import TOO_LONG_S, Served, served

ECHO = """
@warm_model(name="echo")
class Echo:
    @hook.load
    def load(self) -> None:
        while (HERE / "hold").exists():
            time.sleep(0.01)
        if (HERE / "fail").exists():
            raise RuntimeError("no voice")

    @endpoint
    def echo(self, text: str) -> str:
        return text
"""
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
TOKEN = "correct-horse"


@pytest.fixture(scope="module")
def echo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with served(tmp_path_factory.mktemp("echo"), ECHO) as running:
        yield running


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    folder = tmp_path_factory.mktemp("locked")
    with (
        served(folder, ECHO, Options(token=TOKEN)) as running,
        httpx.Client(base_url=running.url) as stranger,
    ):
        yield stranger


def test_a_browser_without_the_token_gets_a_field_for_it(locked: httpx.Client) -> None:
    reply = locked.get("/", headers=BROWSER)

    assert (reply.status_code, reply.headers["www-authenticate"]) == (401, "Bearer")
    assert reply.headers["content-type"].startswith("text/html")
    assert 'id="token"' in reply.text
    assert "echo" not in reply.text


def test_only_the_page_itself_is_shown_without_the_token(locked: httpx.Client) -> None:
    for path in ("/trace?format=html", "/trace?format=svg", "/openapi.json", "/echo"):
        reply = locked.get(path, headers=BROWSER)

        assert (reply.status_code, reply.headers["content-type"]) == (401, "application/json")


def test_with_the_token_the_page_has_the_forms(locked: httpx.Client) -> None:
    reply = locked.get("/", headers={**BROWSER, "authorization": f"Bearer {TOKEN}"})

    assert reply.status_code == 200
    assert 'action="echo"' in reply.text


def test_whoever_watches_a_start_is_answered_well_in_every_state(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with served(tmp_path, ECHO, wait=False) as running:
        starting = running.client.get("/ready?watch")
        (tmp_path / "hold").unlink()
        running.life.wait(TOO_LONG_S)
        ready = running.client.get("/ready?watch")

    assert (starting.status_code, starting.json()["state"]) == (200, "starting")
    assert (ready.status_code, ready.json()["state"]) == (200, "ready")


def test_a_question_that_watches_is_open_when_a_start_fails_and_hears_why(tmp_path: Path) -> None:
    """The server ends then: a page that asks now and again would find nobody there."""
    (tmp_path / "hold").touch()
    (tmp_path / "fail").touch()
    heard: list[dict[str, object]] = []

    def watch(client: httpx.Client) -> None:
        until = now() + TOO_LONG_S
        while now() < until and (not heard or heard[-1]["state"] == "starting"):
            heard.append(client.get("/ready?watch").json())

    with served(tmp_path, ECHO, wait=False) as running:
        thread = threading.Thread(target=watch, args=(running.client,))
        thread.start()
        while len(heard) < 2 and thread.is_alive():
            thread.join(0.01)
        (tmp_path / "hold").unlink()
        thread.join(TOO_LONG_S)

    assert heard[-1]["state"] == "failed"
    assert "no voice" in str(heard[-1]["reason"])


def test_a_watching_page_learns_which_declaration_it_watches_if_it_has_the_token(
    echo: Served, locked: httpx.Client
) -> None:
    assert echo.client.get("/ready?watch").json()["version"] == echo.life.plan.spec_digest
    assert "version" not in echo.client.get("/ready").json()
    assert locked.get("/ready?watch").json() == {"state": "ready"}


@pytest.mark.parametrize(
    ("form", "kind", "begins"),
    [
        ("svg", "image/svg+xml", "<svg "),
        ("html", "text/html; charset=utf-8", "<!doctype html>"),
        ("chrome", "application/json", "{"),
        ("json", "application/json", "{"),
    ],
)
def test_the_trace_comes_in_every_form(echo: Served, form: str, kind: str, begins: str) -> None:
    reply = echo.client.get(f"/trace?format={form}")

    assert (reply.status_code, reply.headers["content-type"]) == (200, kind)
    assert reply.text.startswith(begins)
    assert "sandbox" in reply.headers["content-security-policy"]
    assert "allow-same-origin" not in reply.headers["content-security-policy"]


def test_a_form_that_no_trace_has_is_refused_with_those_it_has(echo: Served) -> None:
    reply = echo.client.get("/trace?format=pdf")

    assert reply.status_code == 400
    assert "json, chrome, svg, html" in reply.json()["error"]["message"]


def test_a_picture_of_a_start_that_still_runs_reaches_to_this_moment(tmp_path: Path) -> None:
    (tmp_path / "hold").touch()
    with served(tmp_path, ECHO, wait=False) as running:
        while "load:load" not in running.client.get("/ready").text:
            pass
        first = running.client.get("/trace").json()["end_s"]
        second = running.client.get("/trace").json()["end_s"]
        (tmp_path / "hold").unlink()
        running.life.wait(TOO_LONG_S)

    assert second > first
