"""Lay out the graph of steps: what waits for what, on which side of each cut, on which lane.

(fetch ∥ imports ∥ cuda_init) → load → restored → warmup; gpu snapshot: load → warmup → restored → canary.
"""

from __future__ import annotations

from collections.abc import Iterable
from graphlib import TopologicalSorter
from typing import TypeAlias

from coldstart_sdk.plan import Lane, Stage, Step, StepKind, Work
from coldstart_sdk.planner.asked import Asked, Settled
from coldstart_sdk.spec import HookSpec, Kind, Origin, Place, Snapshot, Spec

Names: TypeAlias = tuple[str, ...]

_AFTER_CUT: dict[Snapshot, frozenset[StepKind]] = {
    Snapshot.NONE: frozenset(StepKind),
    # A cpu snapshot is taken without a GPU: a context opened before it would be restored dead.
    Snapshot.CPU: frozenset({StepKind.CUDA_INIT, StepKind.RESTORED, StepKind.WARMUP}),
    Snapshot.GPU: frozenset({StepKind.RESTORED, StepKind.CANARY}),
}
_OUTSIDE = {
    StepKind.BUILD: Stage.BUILD,
    StepKind.BACKGROUND: Stage.BACKGROUND,
    StepKind.CLOSE: Stage.CLOSE,
}
UPLOAD = "upload"
_ON_MODEL_THREAD = {Kind.LOAD, Kind.RESTORED, Kind.WARMUP}


def steps(asked: Asked, settled: Settled) -> tuple[Step, ...]:
    """Every step, stage by stage; inside a stage in an order that a person can read."""
    layout = _Layout(asked.spec, settled.snapshot)
    layout.hooks(Kind.BUILD)
    # First of all, so that its thread is running before anything else wants the interpreter.
    driver = _driver(layout, asked)
    fetched = _fetches(layout)
    imported = _imports(layout)
    loads_itself = not asked.spec.hooks_of(Kind.LOAD)  # in `__init__`, by name, what a lock has observed
    before = (*fetched, imported) if loads_itself else (imported,)
    made = layout.add(
        StepKind.CONSTRUCT, asked.spec.qualname, work=Work.INSTANCE, lane=Lane.MODEL, after=before
    )
    fetched += layout.hooks(Kind.FETCH, after=(*fetched, made))
    opened = _opened(layout, driver, imported, made)
    _up_to_ready(layout, ready_to_load=(*fetched, made), opened=opened)
    _upload(layout, asked, settled)
    layout.hooks(Kind.BACKGROUND)
    _closes(layout)
    return layout.in_stages()


class _Layout:
    """The steps so far. A step gets its name, its stage and its device here and nowhere else."""

    def __init__(self, spec: Spec, snapshot: Snapshot) -> None:
        self.spec = spec
        self.snapshot = snapshot
        self._steps: dict[str, Step] = {}

    def add(  # noqa: PLR0913 - one argument for each field that a step does not derive
        self,
        kind: StepKind,
        what: str,
        *,
        work: Work,
        lane: Lane,
        target: str | None = None,
        after: Names = (),
        required: bool = True,
        timeout_s: float | None = None,
    ) -> str:
        stage = self._stage(kind)
        step = Step(
            name=self._unique(kind, what),
            kind=kind,
            work=work,
            target=what if target is None else target,
            stage=stage,
            lane=lane,
            after=after,
            required=required,
            timeout_s=timeout_s,
            device=self._device(stage) if work is Work.HOOK else None,
        )
        self._steps[step.name] = step
        return step.name

    def hooks(self, kind: Kind, *, after: Names = (), canaries: bool = False) -> Names:
        """One step for each of the user's methods, siblings side by side unless the user ordered them."""
        hooks = [hook for hook in in_order(self.spec.hooks_of(kind)) if hook.canary or not canaries]
        lanes = _lanes(kind, self.spec.hooks_of(kind))
        names: dict[str, str] = {}
        for hook in hooks:
            siblings = tuple(names[method] for method in hook.after if method in names)
            step = StepKind.CANARY if canaries else StepKind(kind.value)
            names[hook.method] = self.hook(hook, step, lanes[hook.method], after=(*after, *siblings))
        return tuple(names.values())

    def hook(self, hook: HookSpec, kind: StepKind, lane: Lane, *, after: Names) -> str:
        return self.add(
            kind,
            hook.method,
            work=Work.HOOK,
            lane=lane,
            after=after,
            required=hook.required,
            timeout_s=hook.timeout_s,
        )

    def in_stages(self) -> tuple[Step, ...]:
        order = list(Stage)
        return tuple(sorted(self._steps.values(), key=lambda step: order.index(step.stage)))

    def _unique(self, kind: StepKind, what: str) -> str:
        """`kind:what`; a method that is called like a weight is told apart by its class."""
        while f"{kind.value}:{what}" in self._steps:
            what = f"{self.spec.qualname}.{what}"
        return f"{kind.value}:{what}"

    def _stage(self, kind: StepKind) -> Stage:
        if kind in _OUTSIDE:
            return _OUTSIDE[kind]
        return Stage.AFTER_SNAPSHOT if kind in _AFTER_CUT[self.snapshot] else Stage.BEFORE_SNAPSHOT

    def _device(self, stage: Stage) -> str:
        no_gpu_yet = stage is Stage.BUILD or (
            stage is Stage.BEFORE_SNAPSHOT and self.snapshot is Snapshot.CPU
        )
        return "cuda" if self.spec.gpu and not no_gpu_yet else "cpu"


def _fetches(layout: _Layout) -> Names:
    return tuple(
        layout.add(StepKind.FETCH, weight, work=Work.WEIGHT, lane=Lane.OWN) for weight in layout.spec.weights
    )


def _imports(layout: _Layout) -> str:
    """The step after which the user's class is there. Imports share one lane, in this order.

    Two at once would only take the interpreter from one another. Validation comes last because only requests
    need it: READY waits for it, load does not.
    """
    after: Names = ()
    modules = [module for module in dict.fromkeys(layout.spec.imports) if module != layout.spec.module]
    for module in modules:
        after = (layout.add(StepKind.IMPORT, module, work=Work.MODULE, lane=Lane.IMPORTS, after=after),)
    declaration = layout.add(
        StepKind.IMPORT, layout.spec.module, work=Work.DECLARATION, lane=Lane.IMPORTS, after=after
    )
    layout.add(StepKind.IMPORT, "validation", work=Work.VALIDATION, lane=Lane.IMPORTS, after=(declaration,))
    return declaration


def _driver(layout: _Layout, asked: Asked) -> str | None:
    if not asked.spec.gpu or asked.has(Kind.CUDA_INIT):
        return None
    # A platform was asked for its card and must bring it; the user's own machine may have none.
    sold = asked.capabilities.cards is not None
    return layout.add(StepKind.CUDA_INIT, "driver", work=Work.DRIVER, lane=Lane.OWN, required=sold)


def _opened(layout: _Layout, driver: str | None, imported: str, made: str) -> Names:
    """The steps after which the device is open."""
    if driver is None:
        return layout.hooks(Kind.CUDA_INIT, after=(made,))
    after = (driver, imported)
    return (
        driver,
        layout.add(StepKind.CUDA_INIT, "kernel", work=Work.KERNEL, lane=Lane.OWN, after=after),
    )


def _up_to_ready(layout: _Layout, *, ready_to_load: Names, opened: Names) -> None:
    match layout.snapshot:
        case Snapshot.GPU:
            ready = (*ready_to_load, *opened)
            loaded = layout.hooks(Kind.LOAD, after=ready) or ready
            warm = layout.hooks(Kind.WARMUP, after=loaded) or loaded
            restored = _restored(layout, warm)
            layout.hooks(Kind.WARMUP, after=restored, canaries=True)
        case Snapshot.CPU:
            loaded = layout.hooks(Kind.LOAD, after=ready_to_load) or ready_to_load
            restored = _restored(layout, (*loaded, *opened))
            layout.hooks(Kind.WARMUP, after=restored)
        case _:
            ready = (*ready_to_load, *opened)
            loaded = layout.hooks(Kind.LOAD, after=ready) or ready
            restored = layout.hooks(Kind.RESTORED, after=loaded) or loaded
            layout.hooks(Kind.WARMUP, after=restored)


def _restored(layout: _Layout, after: Names) -> Names:
    """The user's hooks, or our own: every process restored from one snapshot would draw the same numbers."""
    return layout.hooks(Kind.RESTORED, after=after) or (
        layout.add(StepKind.RESTORED, "reseed", work=Work.RESEED, lane=Lane.MODEL, after=after),
    )


def _upload(layout: _Layout, asked: Asked, settled: Settled) -> None:
    """Before the user's own background hooks: it only starts a process, and they may run for ever."""
    fills = any(
        settled.places[name] is Place.STORE and weight.origin is not Origin.LOCAL
        for name, weight in asked.spec.weights.items()
    )
    if fills:
        taken = any(hook.method == UPLOAD for hook in asked.spec.hooks_of(Kind.BACKGROUND))
        what = f"{asked.spec.qualname}.{UPLOAD}" if taken else UPLOAD
        layout.add(StepKind.BACKGROUND, what, work=Work.UPLOAD, lane=Lane.OWN, target=UPLOAD, required=False)


def _closes(layout: _Layout) -> None:
    """One after the other, the last defined first: it may stand on what was opened before it."""
    before: Names = ()
    for hook in in_order(reversed(layout.spec.hooks_of(Kind.CLOSE))):
        lane = Lane.LOOP if hook.is_async else Lane.OWN
        before = (layout.hook(hook, StepKind.CLOSE, lane, after=before),)


def in_order(hooks: Iterable[HookSpec]) -> tuple[HookSpec, ...]:
    """As the user's `after=` wants it, and otherwise as they are defined."""
    named = {hook.method: hook for hook in hooks}
    before = {hook.method: [name for name in hook.after if name in named] for hook in named.values()}
    return tuple(named[method] for method in TopologicalSorter(before).static_order())


def _lanes(kind: Kind, hooks: tuple[HookSpec, ...]) -> dict[str, Lane]:
    lanes = {hook.method: Lane.LOOP if hook.is_async else Lane.OWN for hook in hooks}
    if kind in _ON_MODEL_THREAD:
        lanes |= dict.fromkeys(_chain(hooks), Lane.MODEL)
    return lanes


def _chain(hooks: tuple[HookSpec, ...]) -> list[str]:
    """The sync hooks that can share one thread at no cost: the first, and all that never run beside it."""
    before = _ancestors(hooks)
    first = [hook.method for hook in hooks if not hook.is_async][:1]
    chain = list(first)
    for hook in in_order(hooks):
        apart = all(other in before[hook.method] or hook.method in before[other] for other in chain)
        if not hook.is_async and hook.method not in chain and apart:
            chain.append(hook.method)
    return chain


def _ancestors(hooks: tuple[HookSpec, ...]) -> dict[str, frozenset[str]]:
    """For each hook all that end before it starts."""
    before: dict[str, frozenset[str]] = {}
    for hook in in_order(hooks):
        direct = frozenset(hook.after) & before.keys()
        before[hook.method] = direct.union(*(before[name] for name in direct))
    return before
