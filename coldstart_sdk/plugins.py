"""Entry points: backends and stores come through one door, ours included.

The whole contract of a backend, and of a store, stands here. With a name and capabilities a backend can be
planned for; each further Protocol that it meets gives it verbs. A store is registered by the scheme of its
addresses, as a function from an address to a `Store`. A distribution registers both as ours does:

    [project.entry-points."coldstart.backends"]
    harbour = "coldstart_harbour:backend"

    [project.entry-points."coldstart.stores"]
    harbour = "coldstart_harbour:opened"

A worker never scans entry points for what is ours.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, runtime_checkable

from coldstart_sdk.errors import PluginError, Problem
from coldstart_sdk.frozen import dataclass

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

    from coldstart_sdk.bundle import Bundle
    from coldstart_sdk.plan import Capabilities, Note, Plan

BACKENDS = "coldstart.backends"
STORES = "coldstart.stores"


@runtime_checkable
class Backend(Protocol):
    """A platform that can be planned for. Cheap to import: vendor SDKs belong inside its methods."""

    @property
    def name(self) -> str: ...
    @property
    def capabilities(self) -> Capabilities: ...


@runtime_checkable
class Compiler(Protocol):
    """`build`: spell a plan as files that the platform's own tools can run."""

    def compile(self, plan: Plan, project: Path) -> Bundle: ...


@runtime_checkable
class Lint(Protocol):
    """`check`: what will go wrong with a declaration there, though it can be built."""

    def lint(self, plan: Plan, project: Path) -> tuple[Problem, ...]: ...


@runtime_checkable
class Noting(Protocol):
    """`plan`: what the compiler will decide of this project, and why."""

    def notes(self, plan: Plan, project: Path) -> tuple[Note, ...]: ...


@runtime_checkable
class Pinning(Protocol):
    """`build --pin`: ask what a name outside of the project means now, and write that down in it."""

    def pin(self, plan: Plan, project: Path) -> Path:
        """The file that says it."""


@runtime_checkable
class Platform(Protocol):
    """`deploy` and what follows. `app` is the declaration's name; what comes back is plain JSON."""

    def deploy(self, plan: Plan, bundle: Path) -> Mapping[str, Any]: ...
    def status(self, app: str) -> Mapping[str, Any]: ...
    def logs(self, app: str, *, follow: bool) -> Iterator[str]: ...
    def invoke(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]: ...
    def history(self, app: str) -> tuple[Mapping[str, Any], ...]: ...
    def rollback(self, app: str, release: str) -> Mapping[str, Any]: ...
    def scale(self, app: str, *, least: int, most: int) -> Mapping[str, Any]: ...
    def delete(self, app: str) -> None: ...


@runtime_checkable
class Preview(Protocol):
    """`deploy --dry-run`, and the question before a deploy."""

    def changes(self, plan: Plan, bundle: Path) -> tuple[str, ...]:
        """What a deploy would change, a line each; nothing where this very bundle is live."""


@runtime_checkable
class Queue(Protocol):
    """`invoke --no-wait`, and `invoke --job` later."""

    def submit(self, app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> str:
        """The name of the job."""

    def collect(self, app: str, job: str) -> Iterator[Any]:
        """What it gives, as `invoke` gives it."""


@runtime_checkable
class Rehearsal(Protocol):
    """`rehearse`: run the compiled bundle on loopback under the platform's own worker code.

    The answer's `trace` names the file of the start that a caller met; without one there was no answer, and
    `error` says why. `result` is the first answer, `results` are all of several. `check --budget`, `bench`
    and the pytest plug-in give the options endpoint, input (JSON), requests, skip and state.
    """

    def rehearse(self, plan: Plan, bundle: Path, options: Mapping[str, Any]) -> Mapping[str, Any]: ...


@runtime_checkable
class Options(Protocol):
    """`rehearse`: the options that a rehearsal knows; any other is refused before anything starts.

    Each has the values that it may have, or none where those are not few. Without this a rehearsal is given
    whatever was said.
    """

    @property
    def rehearsal_options(self) -> Mapping[str, tuple[str, ...]]: ...


Progress: TypeAlias = Callable[[int], None]
"""Told how many more bytes have arrived."""


@dataclass(frozen=True, kw_only=True)
class Stored:
    """One key of a store, and what is known of it without reading it."""

    key: str
    size_bytes: int
    modified_s: float | None
    """Seconds since 1970, by the store's clock; None where it does not say."""


@runtime_checkable
class Store(Protocol):
    """Keys and bytes. What is written is there whole or not at all, for every reader, whoever dies.

    One that can also say `path(key) -> Path` or `where(key) -> Address` is read there, without a copy or
    in parallel ranges. `tests/contract/stores.py` is the suite that each one passes.
    """

    @property
    def address(self) -> str: ...

    def read(self, key: str, *, limit_bytes: int) -> bytes | None:
        """A small object; None: there is none. Of one that is too large at most a byte more than allowed."""

    def stat(self, key: str) -> Stored | None: ...

    def blocks(self, key: str) -> Iterator[bytes]:
        """The bytes of an object that is there, first to last."""

    def write(self, key: str, content: bytes, *, media_type: str) -> None:
        """A small object, in place of what may be there."""

    def send(self, key: str, file: Path, *, media_type: str, notes: Path, moved: Progress) -> None:
        """A file of any size. `notes` is a file to keep what the next process needs to go on."""

    def keys(self, prefix: str) -> Iterator[Stored]: ...

    def remove(self, key: str) -> None:
        """Gone, or gone already."""

    def close(self) -> None:
        """Let go of connections; it may be used again."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """One name that a distribution claims."""

    name: str
    distribution: str
    version: str
    problem: str | None
    """Why it cannot be used, where that is so."""


def found(group: str = BACKENDS) -> tuple[Found, ...]:
    """Every name in the group, sorted; one that is broken or claimed twice says so instead of raising."""
    return tuple(
        Found(
            name=point.name,
            distribution=_distribution(point),
            version=point.dist.version if point.dist else "",
            problem=_problem(group, point.name),
        )
        for point in _points(group)
    )


def backend(name: str) -> Backend:
    """The backend of that name."""
    from coldstart_sdk.plan import Capabilities  # noqa: PLC0415 - who only wants a store does without

    plugin, point = _load(BACKENDS, name)
    if not isinstance(plugin, Backend) or not isinstance(plugin.capabilities, Capabilities):
        raise PluginError(
            f"{_distribution(point)}: {point.value} is no backend: it needs a name and its Capabilities",
            fix=f"Tell its makers, or remove it: pip uninstall {_distribution(point)}",
        )
    if plugin.name != name:
        raise PluginError(
            f"{_distribution(point)} registers the backend {plugin.name!r} under the name {name!r}",
            fix=f"Tell its makers, or remove it: pip uninstall {_distribution(point)}",
        )
    return plugin


def store(scheme: str) -> object:
    """What serves store addresses of that scheme."""
    return _load(STORES, scheme)[0]


def compiler(plugin: Backend) -> Compiler:
    """The backend as one that builds; an error that says what it can do if it does not."""
    if isinstance(plugin, Compiler):
        return plugin
    raise _cannot(plugin, "build")


def notes(plugin: Backend, plan: Plan, project: Path) -> tuple[Note, ...]:
    """What its compiler has to say of a plan."""
    return plugin.notes(plan, project) if isinstance(plugin, Noting) else ()


def pinning(plugin: Backend) -> Pinning:
    """The backend as one whose bundles can be pinned."""
    if isinstance(plugin, Pinning):
        return plugin
    raise PluginError(
        f"the backend {plugin.name!r} has nothing to pin", fix="Leave --pin out; weights: coldstart lock FILE"
    )


def platform(plugin: Backend, verb: str = "deploy") -> Platform:
    """The backend as one that deploys and looks after what it deployed; `verb` is what was wanted of it."""
    if isinstance(plugin, Platform):
        return plugin
    raise _cannot(plugin, verb)


def queue(plugin: Platform) -> Queue:
    """The backend as one whose calls need not be waited for."""
    if isinstance(plugin, Queue):
        return plugin
    raise PluginError(
        f"the backend {getattr(plugin, 'name', '')!r} has no queue to leave a call in",
        fix="Leave --no-wait and --job out.",
    )


def preview(plugin: Backend) -> Preview | None:
    """The backend as one that tells beforehand what a deploy would change; None where it cannot."""
    return plugin if isinstance(plugin, Preview) else None


def rehearsal(plugin: Backend) -> Rehearsal:
    """The backend as one that rehearses."""
    if isinstance(plugin, Rehearsal):
        return plugin
    raise _cannot(plugin, "rehearse")


def rehearsal_options(plugin: object) -> Mapping[str, tuple[str, ...]] | None:
    """What its rehearsal knows; None where it does not say."""
    return plugin.rehearsal_options if isinstance(plugin, Options) else None


def verbs(plugin: Backend) -> tuple[str, ...]:
    """What a backend can be asked for."""
    offers = {
        "plan": True,
        "build": isinstance(plugin, Compiler),
        "deploy": isinstance(plugin, Platform),
        "rehearse": isinstance(plugin, Rehearsal),
    }
    return tuple(verb for verb, offered in offers.items() if offered)


def _cannot(plugin: Backend, verb: str) -> PluginError:
    return PluginError(
        f"the backend {plugin.name!r} cannot {verb} yet",
        fix=f"It can {' and '.join(verbs(plugin))}: coldstart plan FILE --target {plugin.name}",
    )


def _points(group: str) -> tuple[EntryPoint, ...]:
    from importlib.metadata import entry_points  # noqa: PLC0415 - it brings email and zipfile, 20 ms

    return tuple(sorted(entry_points(group=group), key=lambda point: (point.name, _distribution(point))))


def _load(group: str, name: str) -> tuple[object, EntryPoint]:
    point = _claim(group, name)
    try:
        return point.load(), point
    except Exception as exc:  # other people's code may raise anything at its import
        raise PluginError(
            f"{name!r} of {_distribution(point)} cannot be loaded: {type(exc).__name__}: {exc}",
            fix=f"Reinstall or remove it: pip uninstall {_distribution(point)}",
            where=point.value,
        ) from exc


def _claim(group: str, name: str) -> EntryPoint:
    """The one entry point of that name."""
    points = _points(group)
    match [point for point in points if point.name == name]:
        case [point]:
            return point
        case []:
            raise PluginError(f"there is no {_noun(group)} called {name!r}", fix=_nearest(name, points))
        case several:
            claims = " and ".join(_distribution(point) for point in several)
            raise PluginError(
                f"the {_noun(group)} {name!r} is claimed by {claims}", fix="Uninstall all but one of them."
            )


def _problem(group: str, name: str) -> str | None:
    try:
        if group == BACKENDS:
            backend(name)
        else:
            _load(group, name)
    except PluginError as error:
        return error.message
    return None


def _nearest(name: str, points: tuple[EntryPoint, ...]) -> str:
    names = list(dict.fromkeys(point.name for point in points))
    if not names:
        return "None is installed: install coldstart-sdk again, and what brings the one you want."
    import difflib  # noqa: PLC0415 - only for a name that nobody has

    near = difflib.get_close_matches(name, names, n=1)
    have = f"There are {', '.join(names)}."
    return f"Did you mean {near[0]!r}? {have}" if near else have


def _distribution(point: EntryPoint) -> str:
    return point.dist.name if point.dist else "an unnamed distribution"


def _noun(group: str) -> str:
    return "store" if group == STORES else "backend"
