"""What the hooks and methods of `modal_app.py` call: a lifecycle between Modal's enter and exit.

_before_snapshot ▶ fetch, imports, load ▶ commit ▶ [snapshot] ▶ _after_snapshot ▶ restored, warmup ▶ READY
                                                                      └ fails ▶ all of it again, afresh
"""

from __future__ import annotations

import gc
import json
import os
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol

from coldstart_sdk import machine, record
from coldstart_sdk.backends.modal import environ, kernels, log
from coldstart_sdk.backends.modal.bridge import Bridge, across, stream_across
from coldstart_sdk.backends.modal.canary import CanarySteps
from coldstart_sdk.backends.modal.cut import Watch
from coldstart_sdk.calls import Calls, UnansweredError
from coldstart_sdk.errors import LifecycleError
from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Counted,
    Event,
    FactsSeen,
    Noted,
    Outcome,
    SpanRecorded,
    StepEnded,
    StepProgress,
    StepStarted,
    now,
)
from coldstart_sdk.journal import Journal
from coldstart_sdk.lifecycle import Lifecycle
from coldstart_sdk.plan import Lane, Plan, Stage, Step, StepKind, Work
from coldstart_sdk.recorder.recorder import Recorder, is_on
from coldstart_sdk.redact import redact
from coldstart_sdk.serve.app import App
from coldstart_sdk.serve.options import Options
from coldstart_sdk.serve.witness import Witness
from coldstart_sdk.spec import Place, Snapshot
from coldstart_sdk.steps import Site
from coldstart_sdk.switches import Switches
from coldstart_sdk.wire.errors import ErrorReply, new_id

DRAIN_S = 25.0
"""Modal gives a container 30 s to end."""
_OPEN = "open files preventing the operation"
"""In what Modal says of a volume that cannot be reloaded (package, volume)."""
RELOAD = "reload:volume"
"""A step before those of the plan: what restored workers wait for too."""
_UNSAID = (StepProgress, Counted, SpanRecorded)
"""Too many for a log; `trace` has them. A rehearsal hears all but the first: it asks no worker."""


class Volume(Protocol):
    """What is asked of a `modal.Volume`."""

    def commit(self) -> None: ...
    def reload(self) -> None: ...


class Worker:
    """One worker, from Modal's first call to its last."""

    def __init__(self, folder: Path, *, volume: Volume | None = None) -> None:
        self._began_s = now()
        log.tracebacks_to_stderr()
        os.environ.update(machine.boot_env(os.environ))
        os.environ.update(machine.thread_limits(os.environ, machine.cpu_quota(), machine.visible_cores()))
        self._folder = folder
        self._volume = volume if os.environ.get("MODAL_IS_REMOTE") == "1" else None
        self.plan = _for_here(Plan.from_json((folder / "plan.json").read_text(encoding="utf-8")))
        self.home = Path(os.environ.get("COLDSTART_HOME", environ.IN_IMAGE))
        if self._volume:
            kernels.seed(os.environ, Path(environ.IN_IMAGE) / "compiled")
        self.says = True
        self._watch: Watch | None = None
        self._witness = Witness(self.plan, self.home, self._say)
        self._recorder: Recorder | None = None
        self._image = ""
        """Which snapshot this process comes from."""
        self.life = self._born()

    # ---- what `modal_app.py` calls

    def start(self) -> None:
        """All of a start, where there is no snapshot."""
        self._say_where_time_starts()
        with ThreadPoolExecutor(1, thread_name_prefix="coldstart-http") as beside:
            http = beside.submit(self._build_app)  # the steps mostly wait
            self._run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
        http.result()
        self._begin_background()

    def before_snapshot(self) -> None:
        """What every worker that is restored from this one finds done."""
        self._say_where_time_starts()
        self._watch = Watch()
        self._run(Stage.BEFORE_SNAPSHOT)
        self._build_app()
        self._image = os.urandom(8).hex()  # from the system: a reseeded generator would be seeded by us
        if self.plan.snapshot is Snapshot.CPU:
            self.life.lanes.close()
        self._look_away()
        self._look_around()
        self._rehearse_restores()
        self._commit()  # the last act: what is not committed now is missing after each restore

    def after_snapshot(self) -> None:
        """What every restored worker does for itself."""
        self._forget_clock()
        if os.environ.get("COLDSTART_TOKEN") != self._token:
            self._build_app()
        self._reload()
        self.restore()
        self._begin_background()

    def restore(self) -> None:
        """From a snapshot to READY, or, where the snapshot is no good, from nothing."""
        quarantined = self.home / "quarantine" / self._image
        if quarantined.exists():
            self._start_afresh("this snapshot was no good before")
            return
        try:
            self.wake()
        except LifecycleError as error:
            with suppress(OSError):
                quarantined.parent.mkdir(parents=True, exist_ok=True)
                quarantined.touch()
            self._commit()
            self._start_afresh(error.message)

    def wake(self) -> None:
        """From a snapshot to READY; it raises where that is not to be had."""
        self._reseed()
        self.life.run(Stage.AFTER_SNAPSHOT)

    def stop(self) -> None:
        self.life.drain(DRAIN_S)

    async def answer(self, endpoint: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - plain JSON has no closer type
        """What the endpoint returns, as plain JSON values."""
        return await across(self.life.lanes, self._answer(endpoint, arguments))

    def stream(self, endpoint: str, arguments: Mapping[str, Any]) -> AsyncIterator[Any]:
        """What the endpoint yields, as it comes."""
        return stream_across(self.life.lanes, self._stream(endpoint, arguments))

    async def invoke(self, name: str | None, arguments: Mapping[str, Any]) -> AsyncIterator[dict[str, Any]]:
        """Any endpoint, the default one without a name: one `result`, or a `chunk` for each of a stream's."""
        try:
            endpoint = self._calls.endpoint(name)
        except UnansweredError as error:
            raise _unanswered(error.reply) from None
        if endpoint.streams:
            async for chunk in self.stream(endpoint.method, arguments):
                yield {"chunk": chunk}
        else:
            yield {"result": await self.answer(endpoint.method, arguments)}

    def trace(self) -> dict[str, Any]:
        """The story of this start."""
        from coldstart_sdk.trace.build import build  # noqa: PLC0415 - only whoever asks pays for it

        ago_s = now() - min(event.at_s for event in self._witness.journal.events)
        trace = build(self._witness.journal.events, self.life.plan, wall_start=time.time() - ago_s)
        told: dict[str, Any] = json.loads(redact(trace.to_json()))
        return told

    def prefetch(self) -> None:
        """Bring every weight to where workers will look for it, and say so to whoever waits."""
        from coldstart_sdk.backends.modal.filling import Filling  # noqa: PLC0415 - not on a worker's way

        self.says = False
        self._witness.journal.also(Filling())
        steps = [step for step in self.life.plan.steps if step.work is Work.WEIGHT]
        with ThreadPoolExecutor(max_workers=len(steps) or 1) as pool:
            for _ in pool.map(self._bring, steps):
                pass  # raises what a fetch raised
        self._commit()

    def _bring(self, step: Step) -> None:
        self.life.steps.do(step)
        self._emit(StepEnded(at_s=now(), step=step.name, outcome=Outcome.DONE))

    def build(self) -> None:
        """What belongs into the image: weights that are put there, and the `build` hooks."""
        if self._is_baked:
            self.prefetch()
        self._run(Stage.BUILD)

    @property
    def app(self) -> Bridge:
        """The HTTP app."""
        return self._bridge

    @property
    def _is_baked(self) -> bool:
        """Whether weights are part of the image."""
        return Place.IMAGE in self.plan.places.values()

    @property
    def _mounted(self) -> Path | None:
        """Where the volume with weights is; a volume of compiled kernels alone is none."""
        return self.home if self._volume and self.plan.volume else None

    # ---- one life

    def _born(self) -> Lifecycle:
        self._look_inside()
        site = Site(
            project=self._folder / "code",
            home=self.home,
            emit=self._emit,
            image=self.home if self._is_baked else None,
            volume=self._mounted,
        )
        life = Lifecycle(self.plan, site, switches=Switches.of(os.environ))
        life.steps = CanarySteps(life.plan, site)
        self._follow(life)
        self._calls = Calls(life, emit=self._emit)
        return life

    def _look_inside(self) -> None:
        """Tell what goes on inside steps too, from now on, unless that is switched off."""
        self._look_away()
        if is_on():
            self._recorder = Recorder(
                self._emit, project=self._folder / "code", home=self.home, name=self.plan.spec.name
            )
            self._witness.journal.also(self._recorder.hear)

    def _follow(self, life: Lifecycle) -> None:
        if self._recorder:
            self._recorder.follow(life.steps.made, life.plan.spec)

    def _look_away(self) -> None:
        if self._recorder:
            self._recorder.close()
        self._recorder = None

    def _run(self, *stages: Stage) -> None:
        try:
            self.life.run(*stages)
        except LifecycleError as error:
            raise _told(error) from None

    def _start_afresh(self, why: str) -> None:
        """Let go of what came out of the snapshot, and start as if there had been none."""
        self._note(f"the snapshot is not used: {why}; everything is loaded afresh")
        self.life.lanes.close()
        self.life = self._born()
        gc.collect()
        self._build_app()
        self._run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    def _begin_background(self) -> None:
        threading.Thread(target=self._background, name="coldstart-background", daemon=True).start()

    def _background(self) -> None:
        with suppress(LifecycleError):  # the status holds it, and tells every watcher
            self.life.run(Stage.BACKGROUND)

    def _build_app(self) -> None:
        """The whole HTTP side, and what Modal itself imports to serve it."""
        _refuse_another_version(self.plan)
        with suppress(ImportError):
            import aiohttp  # noqa: F401, PLC0415 - Modal's own ASGI wrapper needs it, after each restore
        self._token = os.environ.get("COLDSTART_TOKEN")
        options = Options(token=self._token, hosts=("*",))
        app = App(self.life, self._calls, self._witness, options)
        self._bridge = Bridge(app, self.life.lanes)

    # ---- at the cut

    def _look_around(self) -> None:
        if self._watch:
            left = self._watch.left(
                self.life.steps.made.instance,
                volume=self._mounted,
                project=self._folder / "code",
            )
            for sentence in left:
                self._note(f"at the snapshot {sentence}")
        self._watch = None

    def _rehearse_restores(self) -> None:
        count = int(os.environ.get("COLDSTART_REHEARSE_RESTORES", "0"))
        if count:
            from coldstart_sdk.backends.modal import forks  # noqa: PLC0415 - only a rehearsal

            for line in forks.restores(self, count):
                log.say(line)

    def _forget_clock(self) -> None:
        """A restored process may find another clock: its story begins here."""
        self._witness.journal = Journal(self._witness.progress, self._witness.metrics, self._say)
        self._look_inside()
        self._follow(self.life)
        self._emit(AnchorSet(at_s=now(), anchor=Anchor.SDK))
        self._emit(FactsSeen(at_s=now(), facts={**machine.facts(Path("/")), "restored": self._image}))

    def _reseed(self) -> None:
        """Whether or not the user's `restored` does it too."""
        self.life.steps.do(
            Step(
                name="restored:reseed",
                kind=StepKind.RESTORED,
                work=Work.RESEED,
                target="reseed",
                stage=Stage.AFTER_SNAPSHOT,
                lane=Lane.MODEL,
            )
        )

    def _commit(self) -> None:
        """Let others see it. Modal reloads after a commit, and refuses that alone while a file is open."""
        if self._volume:
            try:
                self._volume.commit()
            except RuntimeError as refused:
                if _OPEN not in str(refused):
                    raise
                self._note("the volume was committed, and not reloaded: a file on it is open")

    def _reload(self) -> None:
        """See what others have committed since. A file that is open keeps the volume as it is."""
        if self._volume:
            self._emit(StepStarted(at_s=now(), step=RELOAD))
            why = None
            try:
                self._volume.reload()
            except Exception as refused:  # noqa: BLE001 - Modal's own errors; a start goes on with what was committed before
                why = "a file on it is open" if _OPEN in str(refused) else type(refused).__name__
                self._note(f"the volume was not reloaded: {why}")
            outcome = Outcome.SKIPPED if why else Outcome.DONE
            self._emit(StepEnded(at_s=now(), step=RELOAD, outcome=outcome, reason=why))

    # ---- requests

    async def _answer(self, name: str, arguments: Mapping[str, Any]) -> Any:  # noqa: ANN401 - as above
        try:
            endpoint = self._calls.endpoint(name)
            return (await self._calls.answer(endpoint, arguments, request=new_id())).value
        except UnansweredError as error:
            raise _unanswered(error.reply) from None

    async def _stream(self, name: str, arguments: Mapping[str, Any]) -> AsyncGenerator[Any, None]:
        try:
            endpoint = self._calls.endpoint(name)
            async for chunk in self._calls.stream(endpoint, arguments, request=new_id()):
                yield chunk.value
        except UnansweredError as error:
            raise _unanswered(error.reply) from None

    # ---- what is said

    def _emit(self, event: Event) -> None:
        if self._watch and isinstance(event, StepEnded):
            self._watch.after(event.step)
        self._witness(event)

    def _say(self, event: Event) -> None:
        if self.says and not isinstance(event, _UNSAID[:1] if _rehearsed() else _UNSAID):
            log.say(record.to_data(event))

    def _note(self, message: str) -> None:
        self._emit(Noted(at_s=now(), message=message))

    def _say_where_time_starts(self) -> None:
        started = {
            Anchor.CONTAINER: None if _rehearsed() else machine.container_start_s(),
            Anchor.PROCESS: machine.process_start_s(),
            Anchor.SDK: self._began_s,
        }
        for anchor, at_s in started.items():
            if at_s is not None:
                self._emit(AnchorSet(at_s=at_s, anchor=anchor))
        self._emit(FactsSeen(at_s=now(), facts=machine.facts(Path("/"))))


def _for_here(plan: Plan) -> Plan:
    """In a rehearsal there may be no GPU, and that is no failure."""
    if not _rehearsed():
        return plan
    steps = (replace(step, required=False) if step.work is Work.DRIVER else step for step in plan.steps)
    return replace(plan, steps=tuple(steps))


def _refuse_another_version(plan: Plan) -> None:
    """Asked while the start is under way: to read an installed version takes as long as some imports."""
    from coldstart_sdk import __version__  # noqa: PLC0415 - as above

    if plan.sdk != __version__:
        raise _told(
            LifecycleError(
                f"this bundle was made by coldstart {plan.sdk}, and here is {__version__}",
                fix="Build it again, with the version that the image installs.",
            )
        )


def _rehearsed() -> bool:
    return os.environ.get("COLDSTART_REHEARSAL") == "1"


def _told(error: LifecycleError) -> RuntimeError:
    """Of a kind that every caller can read, coldstart installed or not."""
    at = f"\nat: {error.where}" if error.where else ""
    return RuntimeError(redact(f"{error.message}{at}\nfix: {error.fix}"))


def _unanswered(reply: ErrorReply) -> Exception:
    """The contract's `{"error": …}` as the text of a built-in exception."""
    text = json.dumps(reply.to_data())
    status = reply.fault.status
    if status == _TIMEOUT:
        return TimeoutError(text)
    return ValueError(text) if status < _SERVER else RuntimeError(text)


_SERVER, _TIMEOUT = 500, 504
