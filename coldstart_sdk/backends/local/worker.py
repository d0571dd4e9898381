"""The process that starts cold on this machine; only its supervisor starts it, with two pipes.

It starts the lifecycle before anything else that costs time, reports every event, and answers until it is
told to stop.
"""

from __future__ import annotations

import os
import queue
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, NoReturn

from coldstart_sdk import machine
from coldstart_sdk.backends.local import messages
from coldstart_sdk.backends.local.messages import Answered, Ask, Chunk, Order, Refused, Waiting
from coldstart_sdk.errors import ColdstartError, LifecycleError
from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Emit,
    Event,
    FactsSeen,
    RequestEnded,
    State,
    StateChanged,
    now,
)
from coldstart_sdk.lifecycle import Lifecycle, Status
from coldstart_sdk.plan import Stage
from coldstart_sdk.recorder.recorder import Recorder, is_on
from coldstart_sdk.steps import Site
from coldstart_sdk.switches import Switches

if TYPE_CHECKING:
    from coldstart_sdk.calls import Calls
    from coldstart_sdk.serve.witness import Witness

_SET_PARENT_DEATH_SIGNAL = 1
"""`PR_SET_PDEATHSIG` of prctl(2)."""
FAILED = 6
"""Exit code of a worker that could not start."""


class Reporter:
    """Says every event upwards; requests only where they are few."""

    def __init__(self, pipe: IO[bytes], *, requests: bool) -> None:
        self._pipe = pipe
        self._lock = threading.Lock()
        self._requests = requests

    def __call__(self, event: Event) -> None:
        if self._requests or not isinstance(event, RequestEnded):
            self.say(event)

    def say(self, message: object) -> None:
        with self._lock:
            try:
                messages.write(self._pipe, message)
            except BrokenPipeError:
                self._pipe = open(os.devnull, "wb")  # noqa: PTH123, SIM115 - nobody listens any more; stopping goes on


def main(began_s: float) -> None:
    """Live, from `began_s` on the boot clock, when this process's interpreter was up."""
    control, report = (os.fdopen(int(fd), mode) for fd, mode in zip(sys.argv[1:], ("rb", "wb"), strict=True))
    order = messages.read_order(control)
    reporter = Reporter(report, requests=order.serve is None)
    witness = _witness(order, reporter) if order.serve else None
    _say_where_time_starts(witness or reporter, began_s)
    _exit(_live(order, control, reporter, witness))


def _witness(order: Order, reporter: Reporter) -> Witness:
    from coldstart_sdk.serve.witness import Witness  # noqa: PLC0415 - only a server has one

    return Witness(order.plan, Path(order.home), reporter)


def _live(order: Order, control: IO[bytes], reporter: Reporter, witness: Witness | None) -> int:
    """One life, to its exit code; a server's witness sees all of it."""
    emit, recorder = _recorded(order, witness, reporter)
    site = Site(project=Path(order.project), home=Path(order.home), emit=emit)
    try:
        life = Lifecycle(order.plan, site, switches=Switches.of(os.environ), own_loop=order.serve is None)
    except ColdstartError as error:
        emit(_failed(error))
        return error.exit_code
    _tell_who_is_waited_for(life, reporter)
    if recorder:
        recorder.follow(life.steps.made, life.plan.spec)
    threading.Thread(target=_start, args=(life, site.home), name="coldstart-start", daemon=True).start()
    if order.supervisor:
        _die_with(order.supervisor)
    emit(FactsSeen(at_s=now(), facts=machine.facts(site.home)))
    if witness:
        _serve(order, life, control, witness)
    else:
        _answer(order, life, control, reporter, emit)
    return FAILED if life.status.state is State.FAILED else 0


def _tell_who_is_waited_for(life: Lifecycle, reporter: Reporter) -> None:
    """A drain lasts as long as the requests that were accepted; before READY there are none to answer."""
    was_ready = threading.Event()

    def changed(status: Status) -> None:
        if status.state is State.READY:
            was_ready.set()
        elif status.state is State.DRAINING and was_ready.is_set() and (requests := life.requests):
            reporter.say(Waiting(requests=requests))

    life.watch(changed)


def _recorded(order: Order, witness: Witness | None, reporter: Reporter) -> tuple[Emit, Recorder | None]:
    """Who hears of this life; unless that is switched off, also of what goes on inside its steps."""
    emit = witness or reporter
    if not is_on():
        return emit, None
    recorder = Recorder(emit, project=Path(order.project), home=Path(order.home), name=order.plan.spec.name)
    if witness is None:
        return recorder, recorder
    witness.journal.also(recorder.hear)
    return witness, recorder


def _start(life: Lifecycle, home: Path) -> None:
    """Here `build` hooks run before an environment's first start: there is no image to run them in."""
    with suppress(LifecycleError):  # the status holds it, and tells every watcher
        build_once(life, home)
        life.start()


def build_once(life: Lifecycle, home: Path) -> None:
    """Run the `build` hooks, unless this declaration's have ended well before under this interpreter."""
    if not life.plan.steps_in(Stage.BUILD):
        return
    import hashlib  # noqa: PLC0415 - only a class with a build hook needs it

    environment = f"{sys.prefix} {sys.version} {life.plan.spec_digest}"
    mark = home / "built" / hashlib.sha256(environment.encode()).hexdigest()[:32]
    if mark.exists():
        return
    life.run(Stage.BUILD)
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()


def _serve(order: Order, life: Lifecycle, control: IO[bytes], witness: Witness) -> None:
    """Answer over HTTP, until a signal comes or the supervisor is gone."""
    early: list[int] = []  # signals, until the server listens for them itself
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, _frame: early.append(number))
    from coldstart_sdk.serve import server  # noqa: PLC0415 - the start is under way before the HTTP stack loads

    assert order.serve is not None and order.socket is not None  # noqa: PT018, S101 - the supervisor sends both
    server.run(
        life,
        order.serve,
        witness,
        fd=order.socket,
        drain_s=order.drain_s,
        until=lambda: early or control.read(),
    )


def _answer(order: Order, life: Lifecycle, control: IO[bytes], reporter: Reporter, emit: Emit) -> None:
    """Answer what is asked on the control pipe, until it ends or a signal comes."""
    # The one queue that a signal's handler may put into, wherever the main thread stands.
    stop: queue.SimpleQueue[None] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.put(None))
    life.watch(lambda status: stop.put(None) if status.state is State.FAILED else None)
    threading.Thread(
        target=_read_asks, args=(life, control, reporter, emit, stop), name="coldstart-asks", daemon=True
    ).start()
    stop.get()
    life.drain(order.drain_s)


def _read_asks(
    life: Lifecycle, control: IO[bytes], reporter: Reporter, emit: Emit, stop: queue.SimpleQueue[None]
) -> None:
    try:
        from coldstart_sdk.calls import Calls  # noqa: PLC0415 - the start is under way before asyncio loads

        calls = Calls(life, emit=emit)
        calls.watch_loop()
        for ask in messages.read_asks(control):
            life.lanes.run_async(_answer_one(calls, ask, reporter))
    finally:
        stop.put(None)  # a worker that cannot be asked any more must not stay


async def _answer_one(calls: Calls, ask: Ask, reporter: Reporter) -> None:
    from coldstart_sdk.calls import UnansweredError  # noqa: PLC0415 - as above

    value = None
    try:
        endpoint = calls.endpoint(ask.endpoint)
        if endpoint.streams:
            async for chunk in calls.stream(endpoint, ask.arguments, request=ask.id):
                reporter.say(Chunk(id=ask.id, value=chunk.value))
        else:
            value = (await calls.answer(endpoint, ask.arguments, request=ask.id)).value
    except UnansweredError as error:
        reporter.say(Refused(id=ask.id, error=error.reply.to_author()))
    else:
        reporter.say(Answered(id=ask.id, value=value))


def _die_with(supervisor: int) -> None:
    """No orphan keeps a GPU: not even one whose hook never lets another thread run."""
    import ctypes  # noqa: PLC0415 - the start is under way

    prctl = getattr(ctypes.CDLL(None), "prctl", None)  # Linux alone has it
    if prctl:
        prctl(_SET_PARENT_DEATH_SIGNAL, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != supervisor:  # it died before the kernel was asked
        os.kill(os.getpid(), signal.SIGTERM)


def _failed(error: ColdstartError) -> StateChanged:
    return StateChanged(
        at_s=now(), state=State.FAILED, reason=error.message, where=error.where, fix=error.fix
    )


def _say_where_time_starts(emit: Emit, began_s: float) -> None:
    process_s = machine.process_start_s()
    started = {
        Anchor.CONTAINER: machine.container_made_for_s(process_s),
        Anchor.PROCESS: process_s,
        Anchor.SDK: began_s,
    }
    for anchor, at_s in started.items():
        if at_s is not None:
            emit(AnchorSet(at_s=at_s, anchor=anchor))


def _exit(code: int) -> NoReturn:
    """End now: a thread that a hook hangs in must not keep the process."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
