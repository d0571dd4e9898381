"""An image that is far larger than what a start reads of it."""

from __future__ import annotations

from collections.abc import Iterator

from coldstart_sdk.explain.evidence import Evidence, what_of
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.recorder.names import IMPORT
from coldstart_sdk.trace import figures

_LARGE_BYTES = 500_000_000
_FAR = 3
_NAMED = 5


def find(evidence: Evidence) -> Iterator[Finding]:
    """Needs the sizes of what is installed, which only a look at the environment gives."""
    imported = {what_of(part) for part in evidence.trace.spans if part.name.startswith(f"{IMPORT}:")}
    installed = sum(evidence.packages.values())
    unread = {
        names: size for names, size in evidence.packages.items() if imported.isdisjoint(names.split("/"))
    }
    read = installed - sum(unread.values())
    if not imported or sum(unread.values()) < _LARGE_BYTES or installed < _FAR * max(read, 1):
        return
    largest = sorted(unread, key=lambda name: -unread[name])[:_NAMED]
    yield Finding(
        rule="image-too-large",
        what=(
            f"{figures.size(installed)} of packages are installed, {figures.size(read)} of them are imported"
        ),
        why="A platform pulls and unpacks all of an image before the first line of it runs.",
        evidence=tuple(f"{name}: {figures.size(unread[name])}, never imported" for name in largest),
        fix=(
            "Leave them out of Container.pip(…), and weights out of the image; take CPU or slim "
            "wheels where they do"
        ),
    )
