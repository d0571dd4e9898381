"""What `/trace` answers with: the start as data, for Perfetto, as a picture, or as a page to zoom in."""

from __future__ import annotations

import time

from coldstart_sdk.events import Anchor, AnchorSet, Event, FactsSeen, State, StateChanged, now
from coldstart_sdk.plan import Plan
from coldstart_sdk.serve.asgi import HTML, JSON, Header
from coldstart_sdk.trace import build
from coldstart_sdk.wire.errors import CallError, Fault

KINDS = {"json": JSON, "chrome": JSON, "svg": b"image/svg+xml", "html": HTML}
"""Each `?format=` and its type."""
_POLICY = (
    b"default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:; "
    b"frame-ancestors 'none'; sandbox allow-scripts allow-downloads allow-modals"
)
"""A trace that is looked at is alone in its sandbox: its script reaches no server and no other page."""
HEADERS: tuple[Header, ...] = (
    (b"content-security-policy", _POLICY),
    (b"x-content-type-options", b"nosniff"),
)


def form(query: bytes) -> str:
    """Which one the query asks for."""
    asked = [part[7:] for part in query.split(b"&") if part.startswith(b"format=")] or [b"json"]
    name = asked[-1].decode("latin-1")
    if name not in KINDS:
        raise CallError(Fault.BAD_REQUEST, f"format is one of {', '.join(KINDS)}")
    return name


def spell(events: tuple[Event, ...], plan: Plan, form: str) -> bytes:
    starts = [
        event.at_s for event in events if isinstance(event, AnchorSet) and event.anchor is Anchor.PROCESS
    ]
    if not any(isinstance(event, StateChanged) and event.state is not State.STARTING for event in events):
        events = (*events, FactsSeen(at_s=now(), facts={}))  # a look is an event: what runs has run until now
    wall_start = time.time() - now() + starts[0] if starts else None
    trace = build.build(events, plan, wall_start=wall_start)
    match form:
        case "chrome":
            from coldstart_sdk.trace import chrome  # noqa: PLC0415 - each form pays for itself

            return chrome.to_json(trace).encode()
        case "svg":
            from coldstart_sdk.trace import svg  # noqa: PLC0415 - as above

            return svg.render_svg(trace).encode()
        case "html":
            from coldstart_sdk.trace import html  # noqa: PLC0415 - as above

            return html.render(trace).encode()
        case _:
            return trace.to_json().encode()
