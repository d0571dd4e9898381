"""How we speak: the result on stdout, the story on stderr.

Colour is for terminals and never the only signal. A line that is redrawn is for terminals too; elsewhere each
line stands.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from coldstart_sdk import record
from coldstart_sdk.errors import ColdstartError, Problem, StorageError

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31;1", "32", "33"
_LABEL = 7
"""Columns of `error:` and its kin; what follows stands one space after."""
_WIDEST = 100
_SUBJECT = 18


class Console:
    """One command's two streams, and what it was told about them."""

    def __init__(self, arguments: Sequence[str], env: Mapping[str, str]) -> None:
        """Read the three flags that stand on every verb; they are known before the rest can be parsed."""
        flags = set(arguments[: arguments.index("--")] if "--" in arguments else arguments)
        self.json = "--json" in flags
        self.quiet = bool(flags & {"--quiet", "-q"})
        self.unicode = _is_unicode(sys.stderr)
        self.live = sys.stderr.isatty() and env.get("TERM") != "dumb"
        self.colour = self.live and not env.get("NO_COLOR") and "--no-color" not in flags
        self.colour_out = self.colour and sys.stdout.isatty()
        self._drawn = False
        for stream in (sys.stdout, sys.stderr):
            _never_fail(stream)

    @property
    def width(self) -> int:
        return min(_WIDEST, shutil.get_terminal_size((_WIDEST, 24)).columns)

    def result(self, text: str) -> None:
        """The result, or one line of it."""
        self._clear()
        with written_whole():
            sys.stdout.write(text)
            sys.stdout.flush()

    def result_bytes(self, content: bytes) -> None:
        """The result as it is."""
        with written_whole():
            sys.stdout.buffer.write(content)
            sys.stdout.buffer.flush()

    def result_json(self, value: object) -> None:
        """One object on one line; a record of ours is spelled as it always is."""
        self.result(json.dumps(record.to_data(value), ensure_ascii=not _is_unicode(sys.stdout)) + "\n")

    def say(self, text: str, style: str = "") -> None:
        """One line of the story."""
        if not self.quiet:
            self.insist(text, style)

    def insist(self, text: str, style: str = "") -> None:
        """One line that even `--quiet` shows."""
        self._clear()
        sys.stderr.write(self.painted(text, style) + "\n")
        sys.stderr.flush()

    def did(
        self, subject: str, what: str, duration: str = "", *, style: str = "", insist: bool = False
    ) -> None:
        """One step: subject first, past tense, duration last; even with `--quiet` where we insist."""
        said = _one_line(
            f"{subject:<{_SUBJECT}} {what}" if len(subject) <= _SUBJECT else f"{subject}  {what}"
        )
        tell = self.insist if insist else self.say
        tell(f"{said:<{self.width - 9}} {duration:>8}".rstrip(), style)

    def next(self, *commands: str) -> None:
        """What can be done now."""
        for at, command in enumerate(commands):
            self.say(f"{'' if at else 'next':<{_LABEL}} {command}", DIM)

    def draw(self, text: str) -> None:
        """A line that the next one replaces; on terminals alone."""
        if self.live and not self.quiet:
            self._clear()
            sys.stderr.write(text[: self.width - 1])
            sys.stderr.flush()
            self._drawn = True

    def show_error(self, error: ColdstartError, command: str) -> None:
        """Every problem in three lines, or all of them as one object where somebody can read that."""
        if self.json and not isinstance(error, UnwrittenError):
            self.result_json(as_data(error))
            return
        for at, problem in enumerate(error.problems):
            if at:
                self.insist("")
            for label, text in _lines(problem, command):
                style = RED if label == "error:" else BOLD
                self.insist(self.painted(f"{label:<{_LABEL}}", style) + _one_line(text))

    def table(self, rows: Iterable[Sequence[str]], *, heads: Sequence[str] = (), indent: int = 0) -> str:
        """Columns as wide as their widest cell, two spaces apart."""
        cells = [[*map(_one_line, row)] for row in ([heads, *rows] if heads else rows)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)] if cells else []
        return "".join(
            " " * indent
            + "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
            + "\n"
            for row in cells
        )

    def painted(self, text: str, style: str) -> str:
        return f"\x1b[{style}m{text}\x1b[0m" if self.colour and style else text

    def _clear(self) -> None:
        if self._drawn:
            sys.stderr.write("\r\x1b[K")
            self._drawn = False


def open_what_is_closed() -> None:
    """A caller may have closed a stream of ours (`2>&-`): what goes there is lost; no file gets its place."""
    for name, number in (("stdin", 0), ("stdout", 1), ("stderr", 2)):
        if getattr(sys, name) is None:
            nowhere = os.open(os.devnull, os.O_RDWR)
            if nowhere != number:
                os.dup2(nowhere, number)
                os.close(nowhere)
            os.set_inheritable(number, True)  # noqa: FBT003 - the standard library's own way
            setattr(sys, name, os.fdopen(number, "w" if number else "r"))


def close_quietly() -> None:
    """Nobody reads any more: what is still buffered has nowhere to go."""
    _discard(sys.stdout, sys.stderr)


class UnwrittenError(StorageError):
    """Stdout did not take what we had to say: there is no use in saying more there."""


@contextmanager
def written_whole() -> Iterator[None]:
    """What cannot be written to stdout is an error of its own; that nobody reads any more is none."""
    try:
        yield
    except BrokenPipeError:
        raise
    except OSError as refused:
        _discard(sys.stdout)
        raise UnwrittenError(
            f"stdout cannot be written: {refused.strerror or refused}",
            where="stdout",
            fix="Make room there, or send the result elsewhere.",
        ) from refused


def _discard(*streams: TextIO) -> None:
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def _lines(problem: Problem, command: str) -> tuple[tuple[str, str], ...]:
    said = _told(problem)
    return ("error:", said.message), ("at:", said.where or command), ("fix:", said.fix)


def as_data(error: ColdstartError) -> dict[str, Any]:
    """What a script reads of an error."""
    problems = [_told(problem) for problem in error.problems]
    return {
        "error": {
            "type": type(error).__name__,
            "exit_code": error.exit_code,
            "message": problems[0].message,
            "problems": [
                {"message": problem.message, "where": problem.where, "fix": problem.fix}
                for problem in problems
            ],
        }
    }


def _told(problem: Problem) -> Problem:
    """Without secrets: what a user's own code raised may quote one."""
    from coldstart_sdk.redact import redact  # noqa: PLC0415 - only when something went wrong

    return Problem(
        message=redact(problem.message),
        where=problem.where and redact(problem.where),
        fix=redact(problem.fix),
    )


def _one_line(text: str) -> str:
    """White space runs together, and nothing steers the terminal."""
    return "".join(char if char.isprintable() else "?" for char in _flat(text))


def _flat(text: str) -> str:
    return text.replace("\n", " ").replace("\t", " ").strip()


def _is_unicode(stream: TextIO) -> bool:
    return (stream.encoding or "").lower().replace("-", "").startswith("utf")


def _never_fail(stream: Any) -> None:  # noqa: ANN401 - a test's double has no `reconfigure`
    """In a locale that lacks a character, show its code instead."""
    if hasattr(stream, "reconfigure"):
        stream.reconfigure(errors="backslashreplace")
