"""The values of a declaration, as written.

They check nothing: `read` does, so that every mistake of a declaration is shown at once. The types are for
editors; what stands here at run time may be anything.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Literal

from coldstart_sdk.frozen import dataclass
from coldstart_sdk.spec import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    Where = Literal["store", "volume", "image", "origin"]


@dataclass(frozen=True, kw_only=True)
class Weights:
    """One set of files: `Weights.hf`, `.s3`, `.url` or `.local`."""

    origin: Origin
    source: str
    revision: str | None = None
    include: str | Sequence[str] = ()
    exclude: str | Sequence[str] = ()
    sha256: str | None = None
    filename: str | None = None
    links: Mapping[str, str] | None = None
    place: Where | None = None
    allow_pickle: str | Sequence[str] = ()

    @classmethod
    def hf(  # noqa: PLR0913 - one argument for each thing that can be said
        cls,
        repo: str,
        revision: str | None = None,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        links: Mapping[str, str] | None = None,
        place: Where | None = None,
        allow_pickle: str | Sequence[str] = (),
    ) -> Weights:
        """A Hugging Face repository, `org/name`, or the files of it that match `include`."""
        return cls(
            origin=Origin.HF,
            source=repo,
            revision=revision,
            include=include,
            exclude=exclude,
            links=links,
            place=place,
            allow_pickle=allow_pickle,
        )

    @classmethod
    def s3(  # noqa: PLR0913 - one argument for each thing that can be said
        cls,
        url: str,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        links: Mapping[str, str] | None = None,
        place: Where | None = None,
        allow_pickle: str | Sequence[str] = (),
    ) -> Weights:
        """A plain tree on S3-compatible storage, `s3://bucket/prefix`."""
        return cls(
            origin=Origin.S3,
            source=url,
            include=include,
            exclude=exclude,
            links=links,
            place=place,
            allow_pickle=allow_pickle,
        )

    @classmethod
    def url(  # noqa: PLR0913 - one argument for each thing that can be said
        cls,
        url: str,
        *,
        sha256: str | None = None,
        filename: str | None = None,
        links: Mapping[str, str] | None = None,
        place: Where | None = None,
        allow_pickle: str | Sequence[str] = (),
    ) -> Weights:
        """One file behind a URL; `filename` when its last path segment is not the name it should have."""
        return cls(
            origin=Origin.URL,
            source=url,
            sha256=sha256,
            filename=filename,
            links=links,
            place=place,
            allow_pickle=allow_pickle,
        )

    @classmethod
    def local(  # noqa: PLR0913 - one argument for each thing that can be said
        cls,
        path: str,
        *,
        include: str | Sequence[str] = (),
        exclude: str | Sequence[str] = (),
        links: Mapping[str, str] | None = None,
        place: Where | None = None,
        allow_pickle: str | Sequence[str] = (),
    ) -> Weights:
        """A file or folder on this machine; a relative path starts beside the declaration."""
        return cls(
            origin=Origin.LOCAL,
            source=path,
            include=include,
            exclude=exclude,
            links=links,
            place=place,
            allow_pickle=allow_pickle,
        )


class _Start:
    """A class method that, called on a value, keeps what stood before it: `read` then names the mistake."""

    def __init__(self, method: str) -> None:
        self._method = method

    def __get__(self, written: Container | None, owner: type[Container]) -> Callable[[str], Container]:
        before = written.calls if written else ()
        return lambda start: owner((*before, (self._method, (start,))))


@dataclass(frozen=True)
class Container:
    """The environment of the worker: start with `Container.python` or `Container.base`, then chain.

    Each call gives a new value. Whatever the order of the calls, the image has apt first, then pip,
    then commands, then files, so that a change of code leaves the heavy layers alone.
    """

    calls: tuple[tuple[str, tuple[object, ...]], ...] = ()
    """(method, arguments), in the order written."""

    python: ClassVar = _Start("python")
    """`Container.python("3.11")`: a slim image with this version of Python."""

    base: ClassVar = _Start("base")
    """`Container.base("name:tag")`: an image of your own; it brings its Python."""

    def apt(self, *packages: str) -> Container:
        """Debian packages."""
        return self._and("apt", *packages)

    def pip(self, *requirements: str) -> Container:
        """Requirements as pip reads them."""
        return self._and("pip", *requirements)

    def run(self, command: str, *, gpu: bool = False) -> Container:
        """A shell command, before your code is copied; `gpu=True` where the builder must have a GPU."""
        return self._and("run", command, gpu)

    def env(self, **variables: str) -> Container:
        """Environment of the image; for secrets use `secrets=` of `warm_model`."""
        return self._and("env", *variables.items())

    def copy(self, source: str, destination: str) -> Container:
        """A file or folder beside the declaration → its path in the image."""
        return self._and("copy", source, destination)

    def _and(self, method: str, *arguments: object) -> Container:
        return Container((*self.calls, (method, arguments)))


@dataclass(frozen=True)
class Scale:
    """How many workers, for how long, and how many requests each takes at once."""

    min: int = 0
    max: int = 3
    idle: str | float = "60s"
    concurrency: int = 1
    queue: int = 32


@dataclass(frozen=True)
class Volume:
    """A platform's network volume, found or made by name."""

    name: str
    size: str | int | None = None
    region: str | None = None
