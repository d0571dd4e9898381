"""What every verb has: examples in its help, and the three flags that the console reads."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import click

F = TypeVar("F", bound=Callable[..., Any])


class Verb(click.Command):
    """A command whose help ends with examples."""

    examples: tuple[tuple[str, str], ...] = ()

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        if self.examples:
            with formatter.section("Examples"):
                for command, comment in self.examples:
                    formatter.write_text(f"# {comment}")
                    formatter.write(f"{'':>{formatter.current_indent}}{command}\n")


def verb(name: str, *examples: tuple[str, str]) -> Callable[[F], Verb]:
    """A verb of that name; each example is a command and what it is for. It is given the console first."""

    def made(function: F) -> Verb:
        for option in reversed(_FLAGS):
            option(function)
        command = click.command(name, cls=Verb)(click.pass_obj(function))
        command.examples = examples
        return command

    return made


def _flag(*names: str, say: str) -> Callable[[F], F]:
    """A flag that `Console` has read already."""
    return click.option(*names, is_flag=True, expose_value=False, help=say)


_FLAGS: tuple[Callable[[Any], Any], ...] = (
    _flag("--json", say="Print one JSON object; errors too."),
    _flag("--quiet", "-q", say="Print the result and errors alone."),
    _flag("--no-color", say="No colour; NO_COLOR=1 says the same."),
)


def home_option(function: F) -> F:
    return click.option(
        "--home", metavar="DIR", help="Where files are kept between starts [COLDSTART_HOME]."
    )(function)


def file_argument(function: F) -> F:
    """FILE[:Class]."""
    return click.argument("file", metavar="FILE[:CLASS]", shell_complete=complete_file)(function)


def target_option(*, default: str | None = None) -> Callable[[F], F]:
    return click.option(
        "--target",
        "-t",
        metavar="NAME",
        default=default,
        show_default=default is not None,
        help="The backend: local, runpod, modal, or one that is installed.",
        shell_complete=_complete_target,
    )


def complete_file(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[Any]:
    del ctx, parameter, incomplete
    from click.shell_completion import CompletionItem  # noqa: PLC0415 - only while completing

    return [CompletionItem("", type="file")]


def _complete_target(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    del ctx, parameter
    from importlib.metadata import entry_points  # noqa: PLC0415 - slow, and only while completing

    from coldstart_sdk.plugins import BACKENDS  # noqa: PLC0415 - as above

    names = {point.name for point in entry_points(group=BACKENDS)}
    return sorted(name for name in names if name.startswith(incomplete))


def settings_options(function: F) -> F:
    """What may be decided beside the declaration."""
    function = click.option(
        "--snapshot",
        type=click.Choice(["none", "cpu", "gpu", "auto"]),
        help="Instead of the declared one [COLDSTART_SNAPSHOT].",
    )(function)
    return click.option("--store", metavar="URL", help="Your own copy of the weights [COLDSTART_STORE].")(
        function
    )


def switch_options(function: F) -> F:
    """Steps of this start alone."""
    function = click.option(
        "--defer",
        multiple=True,
        metavar="STEP",
        help="Put a step after READY, by name or kind [COLDSTART_DEFER].",
    )(function)
    return click.option(
        "--skip", multiple=True, metavar="STEP", help="Leave a step out, by name or kind [COLDSTART_SKIP]."
    )(function)


def watch_option(function: F) -> F:
    return click.option("--watch", is_flag=True, help="Start again after each change of the project.")(
        function
    )


def in_seconds(ctx: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """An option's duration, as people write it."""
    from coldstart_sdk.declare import amounts  # noqa: PLC0415 - only a verb that has one

    read = amounts.seconds(_as_number(value))
    if read is None and value is not None:
        raise click.BadParameter(
            f"{value!r} is not a duration: write {amounts.DURATION}", ctx=ctx, param=parameter
        )
    return read


def _as_number(value: object) -> object:
    try:
        return float(str(value))
    except ValueError:
        return value


def complete_endpoint(ctx: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Names of the endpoints, read from the file's text: nothing is imported while someone is typing."""
    del parameter
    import re  # noqa: PLC0415 - only while completing
    from pathlib import Path  # noqa: PLC0415 - as above

    path = Path(str(ctx.params.get("file", "")).partition(":")[0])
    if not path.is_file():
        return []
    text = path.read_text(encoding="utf-8", errors="replace")
    names = re.findall(r"@endpoint\b[^\n]*\n(?:\s*@[^\n]*\n)*\s*(?:async\s+)?def\s+(\w+)", text)
    return [name for name in names if name.startswith(incomplete)]


def set_option(function: F) -> F:
    return click.option(
        "--set",
        "pairs",
        multiple=True,
        metavar="NAME=VALUE",
        help="One option of this platform's rehearsal. May be repeated.",
    )(function)


def out_option(function: F) -> F:
    return click.option(
        "--out", metavar="DIR", help="The bundle's folder; build/TARGET beside the declaration by default."
    )(function)
