"""What stands in the way of a snapshot, looked for just before: threads, sockets, files, the device.

A snapshot holds the memory of every restored process. What is open in it is shared by all of them: a
connection that nobody answers, a generator that gives everyone the same numbers.
"""

from __future__ import annotations

import random
import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import suppress
from pathlib import Path

from coldstart_sdk.frozen import dataclass

SETTLE_S = 1.0
"""How long threads that are about to end are waited for."""
_GENERATORS = {
    ("numpy.random", "Generator"),
    ("numpy.random._generator", "Generator"),
    ("numpy.random.mtrand", "RandomState"),
    ("torch._C", "Generator"),
    ("torch", "Generator"),
}


@dataclass(frozen=True, kw_only=True)
class Open:
    """What this process has open at one moment."""

    threads: frozenset[int]
    descriptors: Mapping[int, str]
    """Number → what it leads to."""
    children: Mapping[int, str]
    """Process → its name."""

    @classmethod
    def now(cls) -> Open:
        return cls(
            threads=frozenset(thread.ident for thread in threading.enumerate() if thread.ident),
            descriptors=_descriptors(),
            children=_children(),
        )


class Watch:
    """Remembers after which step a thing was open for the first time."""

    def __init__(self) -> None:
        self._before = Open.now()
        self._since: dict[object, str] = {}

    def after(self, step: str) -> None:
        """A step has ended: what is new is its, or of one that ran beside it."""
        seen = Open.now()
        for thread in seen.threads - self._before.threads:
            self._since.setdefault(thread, step)
        for number, target in seen.descriptors.items():
            if self._before.descriptors.get(number) != target:
                self._since.setdefault((number, target), step)
        for child in seen.children.keys() - self._before.children.keys():
            self._since.setdefault(("child", child), step)

    def left(self, instance: object, *, volume: Path | None, project: Path) -> tuple[str, ...]:
        """What should not be open now, each in a sentence."""
        _settle(self._before.threads)
        seen = Open.now()
        return (
            *self._threads(seen, project),
            *self._processes(seen),
            *self._descriptors(seen, volume),
            *_device(),
            *_generators(instance),
        )

    def _threads(self, seen: Open, project: Path) -> Iterator[str]:
        for thread in threading.enumerate():
            if thread.ident in seen.threads - self._before.threads and not thread.name.startswith(
                "coldstart-"
            ):
                line = _line(thread.ident, project)
                yield f"the thread {thread.name!r} is running{line}{self._hint(thread.ident)}"

    def _processes(self, seen: Open) -> Iterator[str]:
        for child, name in seen.children.items():
            if child not in self._before.children:
                yield f"the process {name!r} is running{self._hint(('child', child))}"

    def _descriptors(self, seen: Open, volume: Path | None) -> Iterator[str]:
        peers = _peers()
        for number, target in seen.descriptors.items():
            if self._before.descriptors.get(number) == target:
                continue
            hint = self._hint((number, target))
            if target in peers:
                yield f"a connection to {peers[target]} is open{hint}"
            elif volume and Path(target).is_relative_to(volume):
                yield f"{Path(target).relative_to(volume)} on the volume is open{hint}"
            elif target.startswith("/dev/nvidia"):
                yield f"{target} is open{hint}"

    def _hint(self, key: object) -> str:
        step = self._since.get(key)
        return f", since {step} ended" if step else ""


def _settle(known: frozenset[int]) -> None:
    """Wait for threads that are about to end."""
    ends = time.monotonic() + SETTLE_S
    for thread in threading.enumerate():
        if thread.ident not in known and thread is not threading.current_thread():
            thread.join(max(0.0, min(0.2, ends - time.monotonic())))


def _line(thread_id: int | None, project: Path) -> str:
    """Where in the user's own code a thread stands."""
    frame = sys._current_frames().get(thread_id or 0)  # noqa: SLF001 - the documented way to see where a thread stands
    while frame:
        file = Path(frame.f_code.co_filename)
        if file.is_relative_to(project):
            return f" ({file.name}:{frame.f_lineno}, in {frame.f_code.co_name})"
        frame = frame.f_back
    return ""


def _descriptors() -> dict[int, str]:
    found: dict[int, str] = {}
    with suppress(OSError):  # a sandbox without it: nothing can be said
        for link in Path("/proc/self/fd").iterdir():
            with suppress(OSError):  # closed meanwhile, as the one is that lists them
                found[int(link.name)] = str(link.readlink())
    return found


def _children() -> dict[int, str]:
    """Processes that this one has started, and that have not ended."""
    found: dict[int, str] = {}
    with suppress(OSError):  # as above
        for task in Path("/proc/self/task").iterdir():
            with suppress(OSError):  # a thread that has ended meanwhile
                for child in map(int, (task / "children").read_text(encoding="ascii").split()):
                    status = Path(f"/proc/{child}/stat").read_text(encoding="utf-8", errors="replace")
                    name, _, rest = status.partition("(")[2].rpartition(")")
                    if rest.split()[0] != "Z":  # it only waits to be asked how it ended
                        found[child] = name
    return found


def _peers() -> dict[str, str]:
    """Sockets with somebody at the other end who is not on this machine: `socket:[inode]` → address."""
    peers: dict[str, str] = {}
    for table in ("tcp", "tcp6"):
        try:
            lines = Path(f"/proc/self/net/{table}").read_text(encoding="ascii").splitlines()[1:]
        except OSError:
            continue
        for line in lines:
            _, _, remote, state, *rest = line.split()
            address, _, port = remote.partition(":")
            if state == _ESTABLISHED and not is_loopback(address):
                peers[f"socket:[{rest[5]}]"] = f"{dotted(address)}:{int(port, 16)}"
    return peers


_ESTABLISHED = "01"
_V4_DIGITS = 8
_V4_IN_V6 = "0000000000000000FFFF0000"


def is_loopback(address: str) -> bool:
    """Whether an address of /proc, little-endian words in hex, is this machine's own."""
    if len(address) > _V4_DIGITS and address.startswith(_V4_IN_V6):
        address = address[-_V4_DIGITS:]
    return address.endswith("7F") if len(address) == _V4_DIGITS else address == "0" * 24 + "01000000"


def dotted(address: str) -> str:
    if len(address) > _V4_DIGITS and not address.startswith(_V4_IN_V6):
        return "an IPv6 address"
    octets = bytes.fromhex(address[-_V4_DIGITS:])[::-1]
    return ".".join(str(octet) for octet in octets)


def _device() -> Iterator[str]:
    torch = sys.modules.get("torch")
    if torch is not None and torch.cuda.is_initialized():
        yield "torch has initialised CUDA"


def _generators(instance: object) -> Iterator[str]:
    """Random generators of the user's own, which nobody can reseed for them."""
    for name, value in vars(instance).items() if hasattr(instance, "__dict__") else ():
        kind = type(value)
        if isinstance(value, random.Random) or (kind.__module__, kind.__name__) in _GENERATORS:
            yield (
                f"self.{name} is a random generator: every restored worker draws the same numbers from it; "
                "make it in hook.restored"
            )
