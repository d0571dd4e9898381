"""Ask an origin what it has: one question, whichever kind of origin it is."""

from __future__ import annotations

import functools
import queue
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn, TypeVar

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import now
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage.cancel import stop_if
from coldstart_sdk.storage.http import Network
from coldstart_sdk.storage.remote import Limits, Listing, UnreachableError
from coldstart_sdk.storage.retry import FREE_RETRIES, Patience
from coldstart_sdk.storage.transient import TransientError

T = TypeVar("T")

RETRIES_WITH_A_COPY = 2
ANSWER_WITHIN_S = 180.0
"""A client that retries by itself would wait for as long as an origin tells it to."""
MOST_BYTES = 2**63
_TICK_S = 0.05


def ask(weight: WeightSpec, *, kept: str | None, where: str, cancelled: threading.Event) -> Listing:
    """Its listing; an origin that cannot be reached is told apart from one that refuses.

    `kept` is the revision that is here, if one is: an origin still at it need not list its files, and one
    that does not answer is soon given up.
    """
    retries = FREE_RETRIES if kept is None else RETRIES_WITH_A_COPY
    patience = Patience(requests=0, stopped=cancelled, free=retries)
    try:
        return _checked(aside(lambda: _ask(weight, kept, patience), cancelled, ANSWER_WITHIN_S), where)
    except TransientError as failed:
        raise UnreachableError(
            f"the origin cannot be reached: {failed}",
            where=where,
            fix="Check the address and the network, or try again later.",
        ) from failed


def aside(call: Callable[[], T], cancelled: threading.Event, within_s: float | None = None) -> T:
    """What `call` gives, from a thread that is left behind when the caller is cancelled.

    The libraries that ask have no means to be interrupted; their own timeouts end them.
    """
    answers: queue.SimpleQueue[Callable[[], T]] = queue.SimpleQueue()

    def work() -> None:
        try:
            answer = call()
        except BaseException as failed:  # noqa: BLE001 - raised again in the calling thread
            answers.put(functools.partial(_raise, failed))
        else:
            answers.put(lambda: answer)

    threading.Thread(target=work, name="coldstart-listing", daemon=True).start()
    ends_s = None if within_s is None else now() + within_s
    while ends_s is None or now() < ends_s:
        stop_if(cancelled)
        with suppress(queue.Empty):
            return answers.get(timeout=_TICK_S)()
    raise TransientError(f"no answer within {within_s:g} s")


def _checked(listing: Listing, where: str) -> Listing:
    """Sizes are counted with from here on."""
    for file in listing.files:
        size: object = file.size_bytes
        if size is not None and not (isinstance(size, int) and 0 <= size < MOST_BYTES):
            raise StorageError(
                f"the origin gives {file.path!r} no sound size: {str(size)[:40]!r}",
                where=where,
                fix="Check the address, and whether the origin is well.",
            )
    return listing


def _raise(failed: BaseException) -> NoReturn:
    raise failed


def _ask(weight: WeightSpec, kept: str | None, patience: Patience) -> Listing:
    match weight.origin:
        case Origin.URL:
            from coldstart_sdk.storage.origins import url  # noqa: PLC0415 - one origin is loaded, not four

            return url.listing(weight, Network(stall_s=Limits.from_environment().stall_s), patience)
        case Origin.HF:
            from coldstart_sdk.storage.origins import hf  # noqa: PLC0415 - as above

            return hf.listing(weight, kept, patience)
        case Origin.S3:
            from coldstart_sdk.storage.origins import s3  # noqa: PLC0415 - as above

            return s3.listing(weight, patience)
        case Origin.LOCAL:
            raise AssertionError("a local origin is not asked, it is read")
