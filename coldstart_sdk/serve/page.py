"""The page at `/`: how the start goes, what it took, and a form for each endpoint.

One document that loads nothing from anywhere: its style and its script are allowed by their digests, and
nothing else is. Who has no token sees the state and a field for the token.
"""

from __future__ import annotations

import base64
import functools
import hashlib
from collections.abc import Iterator
from importlib.resources import files

from coldstart_sdk.journal import LATEST
from coldstart_sdk.lifecycle import Status
from coldstart_sdk.progress import Reading
from coldstart_sdk.serve import readiness
from coldstart_sdk.serve.asgi import Header
from coldstart_sdk.serve.fields import Html, field, tag, text, void
from coldstart_sdk.spec import EndpointSpec, Medium, Spec

_ACCEPT = {
    Medium.AUDIO: "audio/*, application/json;q=0.5",
    Medium.IMAGE: "image/*, application/json;q=0.5",
    Medium.VIDEO: "video/*, application/json;q=0.5",
}
_LINKS = {
    "trace?format=html": "waterfall to zoom in",
    "trace?format=chrome": "for Perfetto",
    "trace": "trace",
    "metrics": "metrics",
    "openapi.json": "openapi.json",
}
_FILES = {"trace?format=html": "trace.html", "trace?format=chrome": "perfetto.json", "trace": "trace.json"}


def render(spec: Spec, digest: str, status: Status, reading: Reading) -> str:
    """The page for whoever may call."""
    inner = (
        _state(spec.name, status, reading),
        tag(
            "section", tag("h2", text("Endpoints")), *map(functools.partial(_endpoint, spec), spec.endpoints)
        ),
        _waterfall(),
        _requests(),
        tag("p", *_links(), class_="links"),
    )
    return _document(spec.name, tag("main", *inner, data_version=digest, data_latest=LATEST))


def render_locked(status: Status) -> str:
    """The page for whoever has not shown the token: the state, as `/ready` tells it to anyone."""
    main = tag("main", tag("h1", text("coldstart")), tag("p", _word(status.state.value), id="state"))
    return _document("coldstart", main, locked=True)


@functools.cache
def headers() -> tuple[Header, ...]:
    policy = "; ".join(
        (
            "default-src 'none'",
            f"script-src '{_digest(_asset('page.js'))}'",
            f"style-src '{_digest(_asset('page.css'))}'",
            "connect-src 'self'",
            "img-src blob: data:",
            "media-src blob:",
            "form-action 'self'",
            "base-uri 'none'",
            "frame-ancestors 'none'",
            "require-trusted-types-for 'script'",
            "trusted-types page",
        )
    )
    return (
        (b"content-security-policy", policy.encode()),
        (b"cache-control", b"no-store"),
        (b"x-content-type-options", b"nosniff"),
        (b"referrer-policy", b"no-referrer"),
    )


def _document(title: str, main: Html, *, locked: bool = False) -> str:
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="icon" href="data:,">
<title>{text(title)}</title>
<style>{_asset("page.css")}</style>
</head>
<body>
{_unlock(locked=locked)}
{main}
<p class="unseen" id="said" role="status"></p>
<noscript><p>The forms on this page need a script; <code>curl</code> does not.</p></noscript>
<script>{_asset("page.js")}</script>
</body>
</html>
"""


@functools.cache
def _asset(name: str) -> str:
    return (files("coldstart_sdk.serve") / name).read_text(encoding="utf-8")


def _digest(content: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}"


def _unlock(*, locked: bool) -> Html:
    return tag(
        "form",
        tag("label", text("token"), for_="token"),
        void("input", id="token", type="password", autocomplete="off", aria_describedby="unlock-error"),
        tag("button", text("Open")),
        tag("p", text("This page keeps it in memory only."), class_="dim"),
        tag("p", class_="error", id="unlock-error", role="alert", hidden=True),
        id="unlock",
        method="post",
        aria_label="token",
        hidden=not locked,
    )


def _state(name: str, status: Status, reading: Reading) -> Html:
    """As it is at this moment; the script keeps it so."""
    said = readiness.describe(status, reading)
    how = f"{reading.percent} %, {', '.join(reading.running)}" if "percent" in said else ""
    wrong = [tag("p", text(said[key])) for key in ("reason", "where", "fix") if said.get(key)]
    return tag(
        "section",
        tag("h1", text(name)),
        tag("p", _word(status.state.value), text(" "), tag("span", text(how), id="how"), id="state"),
        tag("progress", max=100, value=reading.percent, id="progress", hidden=not how, aria_label="start"),
        tag("div", *wrong, id="problem"),
        tag("dl", class_="figures", id="figures"),
    )


def _word(state: str) -> Html:
    return tag("strong", text(state), id="word", data_state=state)


def _endpoint(spec: Spec, endpoint: EndpointSpec) -> Html:
    first, _, rest = endpoint.doc.partition("\n")
    shown = spec.default_endpoint or spec.endpoints[0]
    return tag(
        "details",
        tag("summary", tag("h3", tag("code", text(f"POST /{endpoint.method}")), text(f" {first}"))),
        *([tag("p", text(rest.strip()), class_="doc dim")] if rest.strip() else []),
        _form(endpoint),
        class_="endpoint",
        open=endpoint is shown,
    )


def _form(endpoint: EndpointSpec) -> Html:
    return tag(
        "form",
        *(field(endpoint, parameter) for parameter in endpoint.parameters),
        tag(
            "p",
            tag("button", text("Send"), class_="send"),
            tag("button", text("Stop"), type="button", class_="stop", hidden=True),
            tag("span", class_="dim took", role="status"),
        ),
        tag("div", class_="error refused", role="alert", hidden=True),
        tag("div", class_="answer"),
        action=endpoint.method,
        method="post",
        enctype="multipart/form-data",
        novalidate=True,
        autocomplete="off",
        aria_label=endpoint.method,
        data_streams=endpoint.streams,
        data_accept=None if endpoint.streams or endpoint.medium is None else _ACCEPT.get(endpoint.medium),
    )


def _waterfall() -> Html:
    return tag(
        "section",
        tag("h2", text("Start")),
        tag(
            "div",
            void("img", id="picture", alt="", hidden=True, width="880"),
            class_="scroll",
            tabindex="0",
            role="region",
            aria_label="waterfall of the start",
        ),
        tag(
            "details",
            tag("summary", text("As a table")),
            _table("steps", "step", "began", "took", "how it ended"),
        ),
    )


def _requests() -> Html:
    return tag(
        "section",
        tag("h2", text("Cold against warm")),
        _table("warmth", "endpoint", "answers", "first", "median of later ones", "first is"),
        tag("h2", text("Latest requests")),
        _table("requests", "at", "endpoint", "queued", "first byte", "whole", "how it ended"),
    )


def _table(name: str, *columns: str) -> Html:
    heads = [tag("th", text(column), scope="col") for column in columns]
    waiting = tag("tr", tag("td", text("none yet"), colspan=len(columns), class_="dim"))
    return tag(
        "div",
        tag("table", tag("thead", tag("tr", *heads)), tag("tbody", waiting, id=name)),
        class_="scroll",
        tabindex="0",
        role="region",
        aria_label=name,
    )


def _links() -> Iterator[Html]:
    for path, words in _LINKS.items():
        yield tag("a", text(words), href=path, data_save=_FILES.get(path, path))
        yield text(" ")
