"""What each step of a plan does: one function for each kind of work, and what steps make for one another.

A step raises when it fails; it neither retries nor decides what follows. `problem_of` turns what it raised
into the words that a person reads.
"""

from __future__ import annotations

import functools
import importlib
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from coldstart_sdk.errors import ColdstartError, LifecycleError, Problem
from coldstart_sdk.events import Emit, Noted, now
from coldstart_sdk.frozen import dataclass
from coldstart_sdk.plan import Plan, Step, StepKind, Work
from coldstart_sdk.spec import Kind, Origin, Place

if TYPE_CHECKING:
    import logging
    from traceback import FrameSummary
    from types import FrameType

    from coldstart_sdk.manifest import Lock
    from coldstart_sdk.storage.tiers import Places
    from coldstart_sdk.storage.weights import LocalWeight, LocalWeights
    from coldstart_sdk.wire.arguments import Endpoint


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where a worker runs, and who hears of it."""

    project: Path
    """The folder of the declaration."""
    home: Path
    """Where files are kept between starts."""
    emit: Emit
    image: Path | None = None
    """What was baked, where the platform builds images with weights in them."""
    volume: Path | None = None
    """Where a volume is mounted."""
    platform_cache: Path | None = None
    """Where the platform keeps models of the hub, in folders called `models--org--name`."""
    alone: bool = False
    """Whether weights are fetched and nothing is done beside it."""


_OURS = Path(__file__).parent
_RECORDER = _OURS / "recorder"


class SkippedError(Exception):
    """The step found that there is nothing for it to do here; the message says why."""


class Made:
    """What steps have made so far. Each field is written by one step, before those that read it start."""

    def __init__(self) -> None:
        self.instance: Any = None
        self.weights: dict[str, LocalWeight] = {}
        self.endpoints: Mapping[str, Endpoint] = {}
        self.device: str | None = None
        """Set where a declared GPU is absent and the platform allows that."""


class Steps:
    """Does the work of one plan's steps on this machine."""

    def __init__(self, plan: Plan, site: Site) -> None:
        self.plan = plan
        self.site = site
        self.made = Made()
        self.cancelled = threading.Event()
        self._arrivals = threading.Lock()
        self._work: Mapping[Work, Callable[[Step], object]] = {
            Work.HOOK: self._call_hook,
            Work.WEIGHT: self._fetch_weight,
            Work.MODULE: self._import_module,
            Work.DECLARATION: self._import_declaration,
            Work.VALIDATION: self._prepare_validation,
            Work.INSTANCE: self._construct,
            Work.DRIVER: self._open_device,
            Work.KERNEL: self._launch_kernel,
            Work.UPLOAD: self._fill_store,
            Work.RESEED: _reseed,
        }

    def do(self, step: Step) -> object:
        """Do it here and now; an async hook gives its coroutine."""
        return self._work[step.work](step)

    def begin(self, steps: Iterable[Step]) -> None:
        """What must not wait for the interpreter once these steps run side by side."""
        names = [step.target for step in steps if step.work is Work.WEIGHT]
        if names:
            from coldstart_sdk.storage import ahead  # noqa: PLC0415 - a class without weights needs none

            weights = [self.plan.spec.weights[name] for name in names]
            with suppress(ColdstartError, ImportError, OSError):  # what is wrong there, the step itself tells
                store = self._places().store
                ahead.load(weights, store=store, home=self.site.home, project=self.site.project)

    def _call_hook(self, step: Step) -> object:
        owner = self._user_class() if step.kind is StepKind.BUILD else self.made.instance
        method = getattr(owner, step.target)
        hook = next(hook for hook in self.plan.spec.hooks if hook.method == step.target)
        given = {name: self._gives(name, step) for name in hook.receives}
        call = functools.partial(method, **given)
        return self._sealed(call, step) if step.kind is StepKind.LOAD else cast("object", call())

    def _sealed(self, call: Callable[[], object], step: Step) -> object:
        """A load; where asked for, without a network: reaching out fails it, whatever it made of that."""
        if os.environ.get("COLDSTART_SEALED") != "1":
            return call()
        import traceback  # noqa: PLC0415 - as above

        from coldstart_sdk.recorder.seal import Seal  # noqa: PLC0415 - only where it was asked for

        seal = Seal(lambda frame: _innermost(traceback.extract_stack(frame), self.site.project))

        def checked(made: object) -> object:
            if seal.tried is None:
                return made
            host, line = seal.tried
            raise LifecycleError(
                f"{step.name} tried to reach {host}, and the network was closed",
                where=line or step.name,
                fix="Declare what it fetches as weights=; coldstart lock FILE --observe tells what that is.",
            )

        return seal.call(call, checked)

    def _gives(self, name: str, step: Step) -> object:
        match name:
            case "weights":
                return self._weights(step)
            case "device":
                return self.made.device or step.device or "cpu"
            case "spec":
                return self.plan.spec
            case _:
                return self.log()

    def _weights(self, step: Step) -> LocalWeights:
        from dataclasses import replace  # noqa: PLC0415 - only where a hook asks for it

        from coldstart_sdk.storage.loading import Loading  # noqa: PLC0415 - as above
        from coldstart_sdk.storage.weights import LocalWeights  # noqa: PLC0415 - as above

        return LocalWeights(
            {
                name: replace(
                    weight,
                    loading=Loading(
                        step=step.name,
                        emit=self.site.emit,
                        allow_pickle=self.plan.spec.weights[name].allow_pickle,
                    ),
                )
                for name, weight in self.made.weights.items()
            }
        )

    def log(self) -> logging.Logger:
        from coldstart_sdk import logs  # noqa: PLC0415 - only where a hook asks for it, or something failed

        return logs.logger(self.plan.spec.name)

    def _fetch_weight(self, step: Step) -> None:
        from coldstart_sdk.storage import locks, tiers  # noqa: PLC0415 - a class without weights needs none
        from coldstart_sdk.storage.sync import sync  # noqa: PLC0415 - as above

        declared = self.plan.spec.weights[step.target]
        places = self._places()
        weight = sync(
            step.target,
            declared,
            home=self.site.home,
            project=self.site.project,
            step=step.name,
            emit=self.site.emit,
            cancelled=self.cancelled,
            tiers=tiers.between(declared, self.plan.tiers, places, self.site.home),
            locked=locks.manifest_of(self._lock, step.target, declared),
            here=tiers.own_place(places, self.site.home),
            tree=places.tree,
            alone=self.site.alone,
        )
        with self._arrivals:
            self.made.weights[step.target] = weight
            if len(self.made.weights) == len(self.plan.spec.weights):
                self._tie_links()

    @functools.cached_property
    def _lock(self) -> Lock | None:
        from coldstart_sdk.storage import locks  # noqa: PLC0415 - as above

        return locks.of_project(self.site.project)

    def _places(self) -> Places:
        from coldstart_sdk.storage import tiers  # noqa: PLC0415 - as above

        return tiers.Places(
            image=self.site.image,
            platform_cache=self.site.platform_cache,
            volume=self.site.volume,
            store=tiers.store_address(self.plan.store, os.environ, self.site.project),
            read_url=self.plan.spec.read_url,
        )

    def _fill_store(self, step: Step) -> None:
        """Start what fills the store, beside this process; it outlives us where the platform lets it."""
        from coldstart_sdk.storage import uploads  # noqa: PLC0415 - after READY

        store = self._places().store
        lacking = {name for name, weight in self.made.weights.items() if weight.tier != "store"}
        spec = self.plan.spec
        wanted = [
            weight
            for name, weight in spec.weights.items()
            if name in lacking
            and self.plan.places.get(name) is Place.STORE
            and weight.origin is not Origin.LOCAL
        ]
        if store is None or not wanted:
            raise SkippedError("the store has it all" if store else "no store is known")
        uploads.start(
            wanted,
            store=store,
            home=self.site.home,
            project=self.site.project,
            step=step.name,
            emit=self.site.emit,
        )

    def _tie_links(self) -> None:
        """Once all weights are here: a link may lead from one into another."""
        from coldstart_sdk.storage import views  # noqa: PLC0415 - loaded with the fetch

        specs = self.plan.spec.weights
        self.made.weights = views.link(self.made.weights, specs)
        if any(spec.origin is Origin.HF for spec in specs.values()):
            from coldstart_sdk.storage import hub_cache  # noqa: PLC0415 - only where the hub's client may look
            from coldstart_sdk.storage.home import Home  # noqa: PLC0415 - loaded with the fetch

            hub_cache.build(Home(self.site.home), self.made.weights, specs)

    def _import_module(self, step: Step) -> None:
        beside = str(self.site.project.resolve())
        if beside not in sys.path:
            sys.path.insert(0, beside)
        try:
            importlib.import_module(step.target)
        except ModuleNotFoundError as missing:
            if missing.name is None:
                raise
            raise self._missing(step.target, missing.name) from missing

    def _missing(self, module: str, name: str) -> LifecycleError:
        """A module of `imports=` that is not here, or that needs `name`, which is not."""
        from coldstart_sdk import entry  # noqa: PLC0415 - only a mistake needs it here

        is_itself = module == name or module.startswith(f"{name}.")
        return LifecycleError(
            f"there is no module {name!r} here" + ("" if is_itself else f", and {module} needs it"),
            fix=f"{entry.mend_missing(name)}; on a platform, let image= install it.",
            where=_line_naming(module, self.site.project / f"{self.plan.spec.module}.py"),
        )

    def _import_declaration(self, step: Step) -> None:
        from coldstart_sdk import entry  # noqa: PLC0415 - the one step that needs it

        entry.import_file(self.site.project / f"{step.target}.py")

    def _user_class(self) -> type:
        from coldstart_sdk import entry  # noqa: PLC0415 - loaded by the step before

        return entry.find(self.plan.spec.module, self.plan.spec.qualname, folder=self.site.project)

    def _prepare_validation(self, _step: Step) -> None:
        from coldstart_sdk.wire import arguments  # noqa: PLC0415 - brings pydantic, so it is a step of its own

        self.made.endpoints = arguments.prepare(self._user_class(), self.plan.spec)

    def _construct(self, step: Step) -> None:
        """Without a load hook it may load in `__init__`; any other is made while the fetch is on its way."""
        user_class = self._user_class()
        loads_itself = not self.plan.spec.hooks_of(Kind.LOAD)
        self.made.instance = self._sealed(user_class, step) if loads_itself else user_class()

    def _open_device(self, step: Step) -> None:
        from coldstart_sdk import cuda  # noqa: PLC0415 - only where a GPU was declared

        try:
            cuda.open_context()
        except (cuda.NoDriver, cuda.NoDevice) as absent:
            if step.required:
                raise
            self.made.device = "cpu"
            self.site.emit(
                Noted(
                    at_s=now(),
                    step=step.name,
                    message=f"{absent.message}: this start runs on the CPU",
                )
            )
            raise SkippedError("no GPU here: this start runs on the CPU") from absent

    def _launch_kernel(self, _step: Step) -> None:
        from coldstart_sdk import cuda  # noqa: PLC0415 - as above

        if self.made.device == "cpu":
            raise SkippedError("no GPU here")
        cuda.launch_kernel()


def problem_of(raised: BaseException, step: Step, project: Path) -> Problem:
    """What went wrong in a step, in a person's words."""
    if isinstance(raised, ColdstartError):
        return raised.problems[0]
    where = user_line(raised, project)
    if isinstance(raised, SystemExit):
        return Problem(
            message=f"{step.name} called sys.exit({raised.code!r})",
            where=where,
            fix="Raise an error that says what is wrong; a hook must not end the worker.",
        )
    from coldstart_sdk.redact import redact  # noqa: PLC0415 - only when something went wrong

    said = redact(str(raised)).splitlines()
    return Problem(
        message=f"{step.name} raised {type(raised).__name__}" + (f": {said[0]}" if said else ""),
        where=where,
        fix="Mend that line; the whole traceback is in the log above.",
    )


def from_their_line(raised: BaseException) -> BaseException:
    """The exception with a traceback that begins in the user's code, and without who looks on in between."""
    trace = raised.__traceback__
    while trace and Path(trace.tb_frame.f_code.co_filename).is_relative_to(_OURS):
        trace = trace.tb_next
    if trace is None:
        return raised
    at = trace
    while at.tb_next:
        if Path(at.tb_next.tb_frame.f_code.co_filename).is_relative_to(_RECORDER):
            at.tb_next = at.tb_next.tb_next
        else:
            at = at.tb_next
    return raised.with_traceback(trace)


def timed_out(step: Step, thread_id: int | None, project: Path) -> Problem:
    """What to say of a step that did not end in its time, and the line on which it stands."""
    import traceback  # noqa: PLC0415 - only when something went wrong

    stack = traceback.extract_stack(frame) if (frame := sys._current_frames().get(thread_id or 0)) else []  # noqa: SLF001 - the documented way to see where a thread stands
    return Problem(
        message=f"{step.name} did not end within {_in_seconds(step.timeout_s or 0.0)}",
        where=_innermost(stack, project),
        fix="Find what it waits for on that line, or give it a longer timeout=.",
    )


def _in_seconds(limit_s: float) -> str:
    """`30 s`, also of what is left of thirty seconds after a few microseconds."""
    return f"{limit_s:.3g} s" if limit_s < 100 else f"{limit_s:.0f} s"  # noqa: PLR2004 - three digits


def _line_naming(module: str, file: Path) -> str:
    """Where the declaration writes the module's name, as text; the file, where it does so in another way."""
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        lines = []
    line = next(
        (number for number, text in enumerate(lines, 1) if f'"{module}"' in text or f"'{module}'" in text),
        None,
    )
    return f"{file.name}:{line}" if line else file.name


def user_line(raised: BaseException, project: Path) -> str | None:
    """The innermost line of the user's own code that the exception came through."""
    import traceback  # noqa: PLC0415 - as above

    return _innermost(traceback.extract_tb(raised.__traceback__), project)


def standing_in(frame: FrameType, methods: Collection[str], project: Path) -> tuple[str | None, str | None]:
    """Which of the methods a thread is in, and the innermost line of the user's code that it stands on."""
    import traceback  # noqa: PLC0415 - as above

    stack = traceback.extract_stack(frame)
    own = (each.name for each in stack if Path(each.filename).is_relative_to(project))
    return next((name for name in own if name in methods), None), _innermost(stack, project)


def _innermost(stack: Iterable[FrameSummary], project: Path) -> str | None:
    """The innermost line of the user's own code."""
    frames = [frame for frame in stack if Path(frame.filename).is_relative_to(project)]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}, in {frames[-1].name}" if frames else None


def _reseed(_step: Step) -> None:
    """Processes restored from one snapshot would otherwise all draw the same numbers."""
    import random  # noqa: PLC0415 - only where a snapshot was restored

    random.seed()
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed(int.from_bytes(os.urandom(4), "little"))
    if torch := sys.modules.get("torch"):
        torch.seed()
