"""Builders of starts: a plan's steps, the events that a run of them emits, and starts as users meet them."""

from __future__ import annotations

from collections.abc import Sequence

from coldstart_sdk.events import (
    Anchor,
    AnchorSet,
    Event,
    FactsSeen,
    Outcome,
    RequestEnded,
    Resource,
    SpanRecorded,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    TierTried,
)
from coldstart_sdk.plan import Lane, Plan, Stage, Step, StepKind, Work
from coldstart_sdk.spec import ContainerSpec, Place, ScaleSpec, Snapshot, Spec
from coldstart_sdk.trace.build import build
from coldstart_sdk.trace.model import Trace

BOOT_S = 5000.0
"""Where on the boot clock these processes start: far from 0, so that a forgotten subtraction shows."""
WALL_S = 1_790_000_000.25

_LANES = {
    StepKind.FETCH: Lane.OWN,
    StepKind.IMPORT: Lane.IMPORTS,
    StepKind.CUDA_INIT: Lane.OWN,
    StepKind.BACKGROUND: Lane.OWN,
}


def a_spec(name: str = "f5-tts") -> Spec:
    return Spec(
        name=name,
        module="app",
        qualname="F5",
        gpu=(),
        image=ContainerSpec(),
        weights={},
        store=None,
        place=None,
        volume=None,
        read_url=None,
        results=None,
        snapshot=Snapshot.NONE,
        scale=ScaleSpec(),
        timeout_s=60.0,
        imports=(),
        env={},
        secrets=(),
        overrides={},
        hooks=(),
        endpoints=(),
    )


def a_step(
    name: str, *after: str, lane: Lane | None = None, required: bool = True, device: str | None = None
) -> Step:
    kind = StepKind(name.partition(":")[0])
    stages = {StepKind.BACKGROUND: Stage.BACKGROUND, StepKind.CLOSE: Stage.CLOSE}
    return Step(
        name=name,
        kind=kind,
        work=Work.WEIGHT if kind is StepKind.FETCH else Work.HOOK,
        target=name.partition(":")[2],
        stage=stages.get(kind, Stage.AFTER_SNAPSHOT),
        lane=lane or _LANES.get(kind, Lane.MODEL),
        after=after,
        required=required,
        device=device,
    )


def a_plan(*steps: Step, name: str = "f5-tts") -> Plan:
    return Plan(
        backend="local",
        spec=a_spec(name),
        spec_digest="sha256:" + "0" * 64,
        sdk="0.1.0",
        snapshot=Snapshot.NONE,
        gpu=(),
        place=Place.STORE,
        store=None,
        tiers=("cache", "store", "origin"),
        env={},
        steps=steps,
        notes=(),
    )


def began(*, sdk_s: float = 0.05, scale: float = 1.0) -> list[Event]:
    return [
        AnchorSet(at_s=BOOT_S, anchor=Anchor.PROCESS),
        AnchorSet(at_s=BOOT_S + sdk_s * scale, anchor=Anchor.SDK),
        StateChanged(at_s=BOOT_S + sdk_s * scale, state=State.STARTING),
    ]


def ran(
    step: str, start_s: float, end_s: float, outcome: Outcome = Outcome.DONE, reason: str | None = None
) -> list[Event]:
    return [
        StepStarted(at_s=BOOT_S + start_s, step=step),
        StepEnded(
            at_s=BOOT_S + end_s, step=step, outcome=outcome, reason=reason, cpu_s=(end_s - start_s) / 2
        ),
    ]


def fetched(  # noqa: PLR0913 - the facts of one fetch
    step: str,
    start_s: float,
    end_s: float,
    size_bytes: int,
    tier: str = "store",
    *,
    missed: Sequence[str] = (),
) -> list[Event]:
    started, ended = ran(step, start_s, end_s)
    tried = [TierTried(at_s=BOOT_S + start_s, step=step, tier=name, hit=False) for name in missed]
    hit = TierTried(at_s=BOOT_S + start_s, step=step, tier=tier, hit=True)
    progress = [
        StepProgress(
            at_s=BOOT_S + start_s + (end_s - start_s) * tenth / 10,
            step=step,
            done_bytes=size_bytes * tenth // 10,
            total_bytes=size_bytes,
        )
        for tenth in range(11)
    ]
    return [started, *tried, hit, *progress, ended]


def ready(at_s: float, *, degraded: tuple[str, ...] = ()) -> list[Event]:
    return [
        AnchorSet(at_s=BOOT_S + at_s, anchor=Anchor.READY),
        StateChanged(at_s=BOOT_S + at_s, state=State.READY, degraded=degraded),
    ]


def failed(at_s: float, reason: str, *, where: str | None = None, fix: str | None = None) -> list[Event]:
    return [StateChanged(at_s=BOOT_S + at_s, state=State.FAILED, reason=reason, where=where, fix=fix)]


def answered(
    endpoint: str, start_s: float, end_s: float, *, queued_s: float = 0.0, first_s: float | None = None
) -> list[Event]:
    return [
        RequestEnded(
            at_s=BOOT_S + end_s,
            id=f"{endpoint}-{start_s}",
            endpoint=endpoint,
            started_s=BOOT_S + start_s,
            queued_s=queued_s,
            first_s=first_s if first_s is not None else end_s - start_s,
            outcome=Outcome.DONE,
        )
    ]


def imported(step: str, package: str, start_s: float, end_s: float) -> list[Event]:
    return [
        SpanRecorded(
            at_s=BOOT_S + start_s, step=step, name=package, resource=Resource.CPU, end_s=BOOT_S + end_s
        )
    ]


def facts(**known: str) -> list[Event]:
    return [FactsSeen(at_s=BOOT_S + 0.06, facts=known)]


TTS_STEPS = (
    a_step("fetch:f5"),
    a_step("fetch:vocos"),
    a_step("import:app"),
    a_step("import:torch"),
    a_step("cuda_init", "import:torch"),
    a_step("construct", "import:app"),
    a_step("load:load", "fetch:f5", "fetch:vocos", "import:torch", "cuda_init", "construct", device="cuda"),
    a_step("warmup:warm", "load:load", device="cuda"),
    a_step("background:upload", "warmup:warm"),
)


def tts(scale: float = 1.0) -> Trace:
    """Fetch beside import and device, then load, then warm-up; one answer and an upload behind READY."""
    at = [0.05, 0.11, 3.9, 4.7, 8.22, 10.9, 12.3]
    sdk, first, torch, cuda, fetch, load, warm = (moment * scale for moment in at)
    events = [
        *began(sdk_s=sdk),
        *facts(cores="4", gpu="NVIDIA L4"),
        *fetched("fetch:f5", first, fetch, 1_350_000_000, missed=("cache",)),
        *fetched("fetch:vocos", first, first + 1.2 * scale, 54_000_000, "origin", missed=("cache", "store")),
        *ran("import:app", first, first + 0.03 * scale),
        *ran("construct", first + 0.03 * scale, first + 0.031 * scale),
        *ran("import:torch", first + 0.03 * scale, torch),
        *imported("import:torch", "numpy", first + 0.2 * scale, first + 0.4 * scale),
        *ran("cuda_init", torch, cuda),
        *ran("load:load", fetch, load),
        *ran("warmup:warm", load, warm),
        *ready(warm + 0.01 * scale),
        *answered("speak", warm + 0.02 * scale, warm + 0.54 * scale, first_s=0.21 * scale),
        *ran("background:upload", warm + 0.02 * scale, warm + 3.02 * scale),
    ]
    return build(events, a_plan(*TTS_STEPS), wall_start=WALL_S)


def failed_load() -> Trace:
    """Load raises while a second fetch still runs."""
    events = [
        *began(),
        *fetched("fetch:f5", 0.11, 8.22, 1_350_000_000),
        *ran("import:app", 0.11, 0.14),
        *ran("construct", 0.14, 0.141),
        *ran("import:torch", 0.14, 3.9),
        *ran("load:load", 8.22, 9.4, Outcome.FAILED, "CUDA out of memory: 2.10 GiB asked, 1.32 GiB free"),
        StepStarted(at_s=BOOT_S + 0.11, step="fetch:vocos"),
        StepEnded(at_s=BOOT_S + 9.41, step="fetch:vocos", outcome=Outcome.CANCELLED),
        *failed(
            9.42,
            "load:load raised OutOfMemoryError: CUDA out of memory: 2.10 GiB asked, 1.32 GiB free",
            where="app.py:31 in F5.load",
            fix="Name a larger card in gpu=, or load in half precision.",
        ),
    ]
    return build(events, a_plan(*TTS_STEPS), wall_start=WALL_S)


def many_steps() -> Trace:
    """Thirty imports and eight fetches, a few of them long, and an optional warm-up that failed."""
    imports = [f"import:{name}" for name in ("app", "torch", "transformers", *(f"pkg{i}" for i in range(27)))]
    fetches = [f"fetch:shard-{i:02d}-of-the-wan-2.1-i2v-14b-480p" for i in range(8)]
    steps = (
        *(a_step(name) for name in imports),
        *(a_step(name) for name in fetches),
        a_step("load:load", *imports, *fetches, device="cuda"),
        a_step("warmup:long", "load:load", required=False, device="cuda"),
    )
    events = began(sdk_s=0.08)
    at_s = 0.2
    for name in imports:
        took_s = {"import:torch": 5.1, "import:transformers": 3.3}.get(name, 0.11)
        events += ran(name, at_s, at_s + took_s)
        at_s += took_s
    for index, name in enumerate(fetches):
        events += fetched(name, 0.2, 20.0 + 2.5 * index, 2_100_000_000 + 90_000_000 * index)
    events += ran("load:load", 39.6, 52.0)
    events += ran("warmup:long", 52.0, 60.0, Outcome.TIMED_OUT, "longer than timeout=8s")
    events += ready(60.01, degraded=("warmup:long",))
    return build(events, a_plan(*steps, name="multitalk"), wall_start=WALL_S)


def ten_minutes() -> Trace:
    """Everything from the origin, nothing overlapped, the platform slow too."""
    steps = (
        a_step("import:app"),
        a_step("construct", "import:app"),
        a_step("fetch:wan", "construct"),
        a_step("load:load", "fetch:wan"),
        a_step("warmup:warm", "load:load"),
    )
    events = [
        AnchorSet(at_s=BOOT_S - 31.0, anchor=Anchor.REQUEST),
        AnchorSet(at_s=BOOT_S - 4.2, anchor=Anchor.CONTAINER),
        *began(sdk_s=0.4),
        *ran("import:app", 0.9, 14.0),
        *ran("construct", 14.0, 14.0),
        *fetched("fetch:wan", 14.1, 540.0, 20_400_000_000, "origin", missed=("cache", "store")),
        *ran("load:load", 561.0, 604.0),
        *ran("warmup:warm", 604.0, 640.0),
        *ready(640.2),
        *answered("animate", -31.0, 702.0, queued_s=671.2),
        *answered("animate", 710.0, 741.0),
        *answered("animate", 750.0, 780.0),
    ]
    return build(events, a_plan(*steps, name="multitalk"), wall_start=WALL_S)


def died_fetching() -> Trace:
    """The process was killed; nobody ended its steps."""
    events = [
        *began(),
        *fetched("fetch:f5", 0.11, 8.0, 900_000_000)[:-1],
        StepStarted(at_s=BOOT_S + 0.11, step="import:torch"),
        StepEnded(at_s=BOOT_S + 3.9, step="import:torch", outcome=Outcome.DONE),
        *failed(8.3, "the worker was killed by SIGKILL", fix="Give it more memory: it used all of 2.0 GB."),
    ]
    return build(events, a_plan(*TTS_STEPS), wall_start=None)


STARTS = {
    "tts": tts(),
    "milliseconds": tts(0.002),
    "failed_load": failed_load(),
    "many_steps": many_steps(),
    "ten_minutes": ten_minutes(),
    "died_fetching": died_fetching(),
}
