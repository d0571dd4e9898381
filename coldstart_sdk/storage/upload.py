"""Fill a store with what this machine has: the process beside a worker, and what it does.

    python -m coldstart_sdk.storage.upload ORDER.json

Only blobs that the store lacks, then the manifest, and last of all the ref. It may be killed at any instant:
nothing that a reader sees is ever half done, what is under way is noted below COLDSTART_HOME and in the
store, and whoever comes next goes on. Workers take turns by a lease in the store. It may lie, and then two
send the same bytes under the same names.
"""

from __future__ import annotations

import fcntl
import json
import mimetypes
import os
import random
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import now
from coldstart_sdk.manifest import FileEntry, Manifest
from coldstart_sdk.plugins import Store
from coldstart_sdk.storage import blobs, layout, manifests, tiers
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.lease import Lease, LostError, Pace
from coldstart_sdk.storage.transient import TransientError

Say = Callable[[dict[str, object]], None]
_ANY = "application/octet-stream"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be sent where."""

    home: str
    store: str
    """The store's address; our folder is below it."""
    refs: tuple[str, ...]
    """Names of sets in the home."""
    pace: Pace = field(default_factory=Pace)


@dataclass(frozen=True, kw_only=True)
class Sent:
    """How one set ended."""

    ref: str
    outcome: str
    """`sent`, `already there`, `others have it`, `somebody else sends it`, `not here`, or why it failed."""
    sent_bytes: int = 0
    total_bytes: int = 0
    seconds: float = 0.0
    fix: str | None = None
    """How to mend what failed, where that is known."""


def run(order: Order, say: Say = lambda _: None) -> tuple[Sent, ...]:
    """Send each set; one that fails does not stop the next."""
    home = Home.open(Path(order.home))
    with closing(tiers.store_below(order.store)) as store:
        return tuple(_sent(_Upload(home, store, ref, order.pace, say)) for ref in order.refs)


def _sent(upload: _Upload) -> Sent:
    started_s, fix = now(), None
    try:
        outcome = upload.run()
    except LostError:
        outcome = "somebody else sends it"
    except StorageError as failed:
        outcome, fix = f"failed: {failed.message}", failed.fix
    except (TransientError, OSError, manifests.BadManifestError) as failed:
        outcome = f"failed: {failed}"
    return Sent(
        ref=upload.ref,
        outcome=outcome,
        sent_bytes=upload.sent_bytes,
        total_bytes=upload.total_bytes,
        seconds=round(now() - started_s, 3),
        fix=fix,
    )


class _Upload:
    """One set on its way."""

    def __init__(self, home: Home, store: Store, ref: str, pace: Pace, say: Say) -> None:
        self.ref = ref
        self.sent_bytes = 0
        self.total_bytes = 0
        self._home = home
        self._store = store
        self._pace = pace
        self._say = say
        self._notes = home.uploads(ref)
        self._never = threading.Event()

    def run(self) -> str:
        manifest = manifests.read_ref(self._home, self.ref)
        if manifest is None or not all(self._home.blob(entry.digest).exists() for entry in manifest.files):
            return "not here"
        self.total_bytes = sum(entry.size_bytes for entry in _once(manifest))
        self._notes.mkdir(parents=True, exist_ok=True)
        with _alone(self._notes / "lock") as alone:
            if not alone:
                return "somebody else sends it"
            if outcome := self._ended(manifest):
                return outcome
            with Lease(self._store, self.ref, notes=self._notes / "holder", pace=self._pace) as lease:
                if not lease.take(lambda: bool(self._ended(manifest))):
                    return self._ended(manifest) or "somebody else sends it"
                return self._send(manifest, lease)

    def _ended(self, manifest: Manifest) -> str | None:
        """How it is that there is nothing to do; None where there is."""
        if any(self._home.suspect(entry.digest).exists() for entry in manifest.files):
            return None
        pointed = layout.pointed_or_none(self._store, self.ref)
        if pointed is None:
            return None
        if pointed == manifests.digest_of(manifest):
            return "already there"
        # Another set under this name: whoever published it came later, unless it is not whole.
        with suppress(manifests.BadManifestError):
            other = layout.read_manifest(self._store, pointed)
            if all(self._has(entry) for entry in _once(other)):
                return "others have it"
        return None

    def _send(self, manifest: Manifest, lease: Lease) -> str:
        for entry in _once(manifest):
            lease.check()
            if not self._is_good(entry):
                self._send_blob(entry, lease)
            self._home.suspect(entry.digest).unlink(missing_ok=True)
        lease.check()
        # While nothing reached them, a clean-up may have taken some; from the ref on none will.
        self._send_vanished(manifest, lease)
        layout.publish(self._store, self.ref, manifest)
        self._send_vanished(manifest, lease)
        for noted in self._notes.glob("*.part"):
            noted.unlink(missing_ok=True)
        return "sent"

    def _send_vanished(self, manifest: Manifest, lease: Lease) -> None:
        for entry in _once(manifest):
            if not self._has(entry):
                self._send_blob(entry, lease)

    def _send_blob(self, entry: FileEntry, lease: Lease) -> None:
        file = self._home.blob(entry.digest)
        # What lies on a disk for long can rot; a store must not learn of it.
        if blobs.digest_of_file(file, self._never) != entry.digest:
            raise StorageError(
                f"{entry.path!r} is damaged on this machine",
                where=str(file),
                fix="Remove it; it is fetched again.",
            )

        def moved(count: int) -> None:
            self.sent_bytes += count
            self._say({"done_bytes": self.sent_bytes, "total_bytes": self.total_bytes})
            lease.check()

        self._store.send(
            layout.blob_key(entry.digest),
            file,
            media_type=mimetypes.guess_type(entry.path)[0] or _ANY,
            notes=self._notes / f"{entry.digest.partition(':')[2]}.part",
            moved=moved,
        )

    def _is_good(self, entry: FileEntry) -> bool:
        """Whether the store has it; one that a reader complained about is read again from first to last."""
        if not self._has(entry):
            return False
        if not self._home.suspect(entry.digest).exists():
            return True
        import hashlib  # noqa: PLC0415 - only where there was a complaint

        hashed = hashlib.sha256()
        for block in self._store.blocks(layout.blob_key(entry.digest)):
            hashed.update(block)
        return f"sha256:{hashed.hexdigest()}" == entry.digest

    def _has(self, entry: FileEntry) -> bool:
        seen = self._store.stat(layout.blob_key(entry.digest))
        return seen is not None and seen.size_bytes == entry.size_bytes


def _once(manifest: Manifest) -> tuple[FileEntry, ...]:
    """Each blob once, the small ones first: they are the many."""
    unique = {entry.digest: entry for entry in manifest.files}
    return tuple(sorted(unique.values(), key=lambda entry: (entry.size_bytes, entry.path)))


@contextmanager
def _alone(path: Path) -> Iterator[bool]:
    """Whether no other process of this machine sends the set; where there are no locks, nobody knows."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        except OSError:
            yield True
        else:
            yield True
    finally:
        os.close(descriptor)


def _be_gentle() -> None:
    """Take what nobody else wants, of the processor and of the disk."""
    with suppress(OSError):
        os.nice(19)
    numbers = {"x86_64": 251, "aarch64": 30}
    if (number := numbers.get(os.uname().machine)) is not None:
        import ctypes  # noqa: PLC0415 - ioprio_set has no other door

        idle = 3 << 13
        ctypes.CDLL(None, use_errno=True).syscall(number, 1, 0, idle)


def _speak(told: dict[str, object]) -> None:
    """A worker that has gone hears nothing; the upload goes on."""
    try:
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
    except (OSError, ValueError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _log(store: str, sent: Sent) -> None:
    """For whoever looks when the worker has gone: stderr is `uploads/log`."""
    at = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    sys.stderr.write(f"{at} {store} {sent.ref}: {sent.outcome}{f'. {sent.fix}' if sent.fix else ''}\n")


def main() -> int:
    _be_gentle()
    random.seed()
    order = record.from_data(Order, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    outcomes = run(order, _speak)
    for sent in outcomes:
        _speak({"sent": record.to_data(sent)})
        _log(order.store, sent)
    return int(any(sent.outcome.startswith("failed") for sent in outcomes))


if __name__ == "__main__":
    sys.exit(main())
