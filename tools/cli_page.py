"""Write docs/cli.md from the help of every verb: `python tools/cli_page.py`."""

from __future__ import annotations

from pathlib import Path

import click

from coldstart_sdk.cli.program import VERBS, program

OUT = Path(__file__).parents[1] / "docs" / "cli.md"
WIDTH = 100
HEAD = """\
# The command line

Made from `coldstart VERB --help` by `tools/cli_page.py`; edits are lost.

Results go to stdout and everything else to stderr. `--json` prints one JSON object, and an error is one too.
Exit codes: 0 done; 1 unexpected; 2 usage or declaration; 3 plan; 4 bundle; 5 storage; 6 lifecycle; 7 plug-in;
8 platform; 9 budget; 130 interrupted. `cstart` is `coldstart` under a shorter name.

Settings, the highest first: a flag, `COLDSTART_*` in the environment, the declaration, `[tool.coldstart]` in
the nearest pyproject.toml. Its keys are `home`, `store`, `snapshot`, `target`, `skip` and `defer`.
"""


def page() -> str:
    parts = [f"## coldstart {verb}\n\n```\n{help_of(verb)}```\n" for verb in VERBS]
    return "\n".join([HEAD, f"```\n{help_of('')}```\n", *parts])


def help_of(verb: str) -> str:
    """What `coldstart VERB --help` prints in a terminal of 100 columns; of the command itself for none."""
    context_ = context()
    command = program.get_command(context_, verb) if verb else program
    assert command is not None  # noqa: S101 - the verbs are our own
    if verb:
        context_ = click.Context(command, info_name=verb, parent=context_, **_SIZE, help_option_names=_HELP)
    return command.get_help(context_) + "\n"


def context() -> click.Context:
    return click.Context(program, info_name="coldstart", **_SIZE, help_option_names=_HELP)


_SIZE = {"terminal_width": WIDTH, "max_content_width": WIDTH}
_HELP = ["-h", "--help"]


if __name__ == "__main__":
    OUT.write_text(page(), encoding="utf-8")
    print(f"wrote {OUT}")
