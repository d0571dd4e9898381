"""What a caller learns of an error: a stable type, a safe message, an id; not what a user's code said."""

from __future__ import annotations

import asyncio

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.wire.errors import BadArguments, BadField, CallError, Fault, ResultError, new_id, reply_to


@pytest.mark.parametrize(
    ("raised", "kind", "status", "message"),
    [
        (BadArguments((BadField(field="text", message="required"),)), "bad_arguments", 400, "text: required"),
        (CallError(Fault.BAD_REQUEST, "not JSON"), "bad_request", 400, "not JSON"),
        (CallError(Fault.UNAUTHORIZED, "no token"), "unauthorized", 401, "no token"),
        (CallError(Fault.FORBIDDEN, "another host"), "forbidden", 403, "another host"),
        (CallError(Fault.UNKNOWN_ENDPOINT, "no speek"), "unknown_endpoint", 404, "no speek"),
        (CallError(Fault.WRONG_METHOD, "use POST"), "wrong_method", 405, "use POST"),
        (CallError(Fault.TOO_LARGE, "too large"), "too_large", 413, "too large"),
        (CallError(Fault.WRONG_TYPE, "send JSON"), "wrong_type", 415, "send JSON"),
        (CallError(Fault.BUSY, "the queue is full"), "busy", 429, "the queue is full"),
        (CallError(Fault.NOT_READY, "starting"), "not_ready", 503, "starting"),
        (CallError(Fault.CANCELLED, "draining"), "cancelled", 503, "draining"),
        (CallError(Fault.TIMEOUT, "took more than 3 s"), "timeout", 504, "took more than 3 s"),
        (ResultError("bytes cannot be sent", fix="x"), "failed", 500, "bytes cannot be sent"),
        (ValueError("/root/secret"), "failed", 500, "speak raised ValueError"),
        (TimeoutError("/root/secret"), "failed", 500, "speak raised TimeoutError"),
        (UsageError("/root/secret", fix="x"), "failed", 500, "speak raised UsageError"),
        (SystemExit("/root/secret"), "failed", 500, "speak called sys.exit"),
        (KeyboardInterrupt(), "failed", 500, "speak raised KeyboardInterrupt"),
        (asyncio.CancelledError(), "cancelled", 503, "speak was cancelled"),
    ],
)
def test_every_way_to_fail_has_its_type_and_status(
    raised: BaseException, kind: str, status: int, message: str
) -> None:
    reply = reply_to(raised, "speak")

    assert reply.fault.status == status
    assert reply.to_data()["error"] == {
        "type": kind,
        "message": message,
        "id": reply.id,
        **({"fields": [{"field": "text", "message": "required"}]} if kind == "bad_arguments" else {}),
    }


def test_every_fault_has_a_status_of_its_class() -> None:
    assert all(400 <= fault.status < 600 for fault in Fault)


def test_ids_are_short_and_do_not_repeat() -> None:
    ids = {new_id() for _ in range(1000)}

    assert len(ids) == 1000
    assert {len(one) for one in ids} == {12}


def test_a_wait_that_was_advised_reaches_the_reply() -> None:
    assert reply_to(CallError(Fault.BUSY, "full", retry_after_s=2.5), "speak").retry_after_s == 2.5


def test_the_mend_of_our_own_error_reaches_the_author_and_no_caller() -> None:
    reply = reply_to(UsageError("samples() needs numpy", fix="pip install numpy"), "speak")

    author = reply.to_author()["error"]
    assert isinstance(author, dict)
    assert author["fix"] == "samples() needs numpy. pip install numpy"
    assert "numpy" not in str(reply.to_data())
