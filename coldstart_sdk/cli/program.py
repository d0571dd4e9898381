"""Find the verb, run it, and turn whatever ends it into an exit code; the one place that prints an error."""

from __future__ import annotations

import difflib
import importlib
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click
from click.exceptions import Exit

from coldstart_sdk.cli import console
from coldstart_sdk.cli.console import Console
from coldstart_sdk.errors import ColdstartError, UsageError

UNEXPECTED, INTERRUPTED = 1, 130
_EXTRA = re.compile(r"unexpected extra argument \(([^\s()]+=[^()]*)\)")


@dataclass(frozen=True, kw_only=True)
class Entry:
    """A verb as the overview shows it, without its module."""

    section: str
    short: str


VERBS: Mapping[str, Entry] = {
    "init": Entry(section="Begin", short="Write a project that runs at once."),
    "check": Entry(section="Begin", short="Show every mistake of a declaration."),
    "doctor": Entry(section="Begin", short="Look at this machine: what will go wrong, and the mend."),
    "run": Entry(section="Run here", short="Start cold, answer once, show where the time went."),
    "serve": Entry(section="Run here", short="Start cold, and answer over HTTP."),
    "explain": Entry(section="Understand", short="Say why a start took so long, and what to change."),
    "trace": Entry(section="Understand", short="Show starts, compare two, hand one to other programs."),
    "bench": Entry(section="Understand", short="Measure cold starts and warm requests."),
    "lock": Entry(section="Weights", short="Write down what each weight is, to the byte."),
    "weights": Entry(section="Weights", short="List, bring, send, check and clear them."),
    "plan": Entry(section="Go elsewhere", short="Show what runs when on one platform, and why."),
    "build": Entry(section="Go elsewhere", short="Write the bundle for one platform."),
    "rehearse": Entry(
        section="Go elsewhere", short="Run the bundle here, under the platform's own worker code."
    ),
    "deploy": Entry(section="Go elsewhere", short="Hand the bundle to the platform."),
    "status": Entry(section="Look after it", short="Show what is live, and how its workers are."),
    "logs": Entry(section="Look after it", short="Print what the workers say."),
    "invoke": Entry(section="Look after it", short="Call an endpoint where it is deployed."),
    "history": Entry(section="Look after it", short="List the releases."),
    "rollback": Entry(section="Look after it", short="Make an earlier release live again."),
    "scale": Entry(section="Look after it", short="Change how many workers there may be."),
    "delete": Entry(section="Look after it", short="Take it down."),
    "backends": Entry(section="Settings", short="List the platforms that can be planned for."),
    "completion": Entry(section="Settings", short="Print the completion script of your shell."),
}


class Program(click.Group):
    """The group of verbs; a verb's module is imported when it is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in VERBS:
            return None
        command = importlib.import_module(f"coldstart_sdk.cli.{cmd_name}").command
        assert isinstance(command, click.Command)  # noqa: S101 - each of our own modules has one
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        if args and args[0] not in VERBS and not ctx.resilient_parsing:
            raise _unknown_verb(args[0])
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        for section in dict.fromkeys(entry.section for entry in VERBS.values()):
            with formatter.section(section):
                formatter.write_dl(
                    [(name, entry.short) for name, entry in VERBS.items() if entry.section == section],
                    col_max=12,
                )

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Examples"):
            for example in ("init hello --template tts", "run hello/app.py -i text=hi", "run --help"):
                formatter.write(f"  {ctx.info_name} {example}\n")


def _show_version(ctx: click.Context, _parameter: click.Parameter, value: object) -> None:
    if value and not ctx.resilient_parsing:
        from coldstart_sdk import __version__  # noqa: PLC0415 - reading metadata is slow

        click.echo(f"coldstart {__version__}")
        ctx.exit()


program = Program(
    "coldstart",
    help="Declare a model class once; start it cold here, on RunPod or on Modal; see where the time went.",
    params=[
        click.Option(
            ["--version"],
            is_flag=True,
            is_eager=True,
            expose_value=False,
            callback=_show_version,
            help="Show the version.",
        )
    ],
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def run(argv: Sequence[str]) -> int:
    """Do what the command line says; the exit code."""
    name = "cstart" if Path(argv[0]).name == "cstart" else "coldstart"
    console.open_what_is_closed()
    speak = Console(argv[1:], os.environ)
    try:
        return _run(name, list(argv[1:]), speak)
    except ColdstartError as error:
        speak.show_error(error, _spoken(name, argv))
        return error.exit_code
    except (KeyboardInterrupt, click.Abort):
        return INTERRUPTED
    except BrokenPipeError:
        console.close_quietly()
        return UNEXPECTED
    except Exception as unexpected:  # noqa: BLE001 - whatever it is, a user is told what to do about it
        speak.show_error(_defect(unexpected), _spoken(name, argv))
        return UNEXPECTED


def _run(name: str, arguments: list[str], speak: Console) -> int:
    _refuse_gone_folder()
    if instruction := os.environ.get(f"_{name.upper()}_COMPLETE"):
        from click.shell_completion import shell_complete  # noqa: PLC0415 - only while completing

        return shell_complete(program, {}, name, f"_{name.upper()}_COMPLETE", instruction)
    try:
        with program.make_context(name, arguments or ["--help"], obj=speak) as ctx:
            code = program.invoke(ctx)
    except Exit as end:
        code = end.exit_code
    except OSError as refused:
        if not _is_echo(refused):
            raise
        with console.written_whole():
            raise
    except click.ClickException as wrong:
        raise _usage(wrong, name, arguments) from wrong
    with console.written_whole():
        sys.stdout.flush()
    return code if isinstance(code, int) else 0


def _usage(wrong: click.ClickException, name: str, arguments: Sequence[str]) -> UsageError:
    """Click's complaint in our three lines."""
    ctx = getattr(wrong, "ctx", None)
    command = ctx.command_path if ctx else name
    fix = f"See `{command} --help`."
    message = wrong.format_message().rstrip(".")
    if isinstance(wrong, click.NoSuchOption):
        message = f"there is no option {wrong.option_name}"
        near = difflib.get_close_matches(wrong.option_name, wrong.possibilities or (), n=1)
        if (meant := _as_input(wrong.option_name, ctx, arguments)) and not _is_close(wrong.option_name, near):
            fix = f"Did you mean {meant}?{f' Or {near[0]}?' if near else ''} {fix}"
        elif near:
            fix = f"Did you mean {near[0]}? {fix}"
        elif ctx is not None and ctx.command is program:
            fix = f"Put it after the verb: {name} run … {wrong.option_name}. {fix}"
    elif (extra := re.search(r"unexpected extra argument \(([^\s()]+=[^()]*)\)", message)) and _takes_inputs(
        ctx
    ):
        message, fix = "there is an argument too many", f"Did you mean -i {_safe(extra[1])}? {fix}"
    elif isinstance(wrong, click.MissingParameter) and ctx is not None:
        fix = f"Write `{ctx.get_usage().partition(':')[2].strip()}`. {fix}"
    return UsageError(message[:1].lower() + message[1:], fix=fix, where=command)


def _takes_inputs(ctx: click.Context | None) -> bool:
    return ctx is not None and any("-i" in parameter.opts for parameter in ctx.command.params)


def _as_input(option: str, ctx: click.Context | None, arguments: Sequence[str]) -> str | None:
    """An argument of an endpoint that was written as an option of ours, as it should have been."""
    if not _takes_inputs(ctx) or not option.startswith("--"):
        return None
    at = next((at for at, word in enumerate(arguments) if word.partition("=")[0] == option), None)
    if at is None:
        return None
    value = arguments[at].partition("=")[2] or next(iter(arguments[at + 1 : at + 2]), "")
    return f"-i {_safe(f'{option[2:]}={value}')}" if value and not value.startswith("-") else None


def _is_close(option: str, near: Sequence[str]) -> bool:
    return bool(difflib.get_close_matches(option, near, n=1, cutoff=0.8))


def _safe(text: str) -> str:
    """As a shell takes it; of a long text the beginning, of a secret nothing."""
    import shlex  # noqa: PLC0415 - only after a slip

    from coldstart_sdk.redact import redact  # noqa: PLC0415 - as above

    return shlex.quote(redact(text[:60]))


def _is_echo(refused: OSError) -> bool:
    """Whether click met it, whose help and version go to stdout."""
    frames = traceback.extract_tb(refused.__traceback__)
    return frames[-1].filename == click.echo.__code__.co_filename


def _unknown_verb(word: str) -> UsageError:
    if word.startswith("-"):
        return UsageError(f"there is no option {word}", fix="See `coldstart --help`.", where="coldstart")
    near = difflib.get_close_matches(word, VERBS, n=1)
    guess = f"Did you mean `coldstart {near[0]}`? " if near else ""
    if not near and (word.endswith(".py") or ".py:" in word):
        guess = f"Did you mean `coldstart run {word}`? "
    return UsageError(
        f"there is no verb {word!r}", fix=f"{guess}The verbs are {', '.join(VERBS)}.", where="coldstart"
    )


def _refuse_gone_folder() -> None:
    try:
        Path.cwd()
    except OSError:
        raise UsageError(
            "the folder that you are in is gone, or may not be read", fix="Go to one that exists: cd ~"
        ) from None


def _defect(unexpected: Exception) -> ColdstartError:
    """A mistake of ours. Its message may hold anything, so only its kind and place are shown."""
    if os.environ.get("COLDSTART_DEBUG") == "1":
        traceback.print_exception(unexpected)
    frames = traceback.extract_tb(unexpected.__traceback__)
    return ColdstartError(
        f"coldstart met an unexpected {type(unexpected).__name__}",
        where=f"{frames[-1].filename}:{frames[-1].lineno}" if frames else None,
        fix="This is a defect of coldstart: please report it, with what COLDSTART_DEBUG=1 shows.",
    )


def _spoken(name: str, argv: Sequence[str]) -> str:
    """The command without its arguments, which may hold a secret."""
    verb = next((word for word in argv[1:] if word in VERBS), None)
    return f"{name} {verb}" if verb else name


def exit_with(code: int) -> NoReturn:
    """End the verb with this code; nothing more is said."""
    raise Exit(code)
