"""`coldstart completion`: let a shell complete verbs, options, files, targets and endpoints."""

from __future__ import annotations

from collections.abc import Mapping

import click
from click.shell_completion import get_completion_class

from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.program import program
from coldstart_sdk.cli.verb import verb
from coldstart_sdk.errors import UsageError

_INSTALL: Mapping[str, tuple[str, ...]] = {
    "bash": ("coldstart completion bash >> ~/.bash_completion",),
    "zsh": (
        "coldstart completion zsh > ~/.zfunc/_coldstart",
        "add to ~/.zshrc, above compinit: fpath+=~/.zfunc",
    ),
    "fish": ("coldstart completion fish > ~/.config/fish/completions/coldstart.fish",),
}


@verb(
    "completion",
    ("coldstart completion bash >> ~/.bash_completion", "for bash, from the next shell on"),
    ("coldstart completion zsh > ~/.zfunc/_coldstart", "for zsh; ~/.zfunc must be in fpath"),
    ("coldstart completion fish > ~/.config/fish/completions/coldstart.fish", "for fish"),
)
@click.argument("shell", type=click.Choice(list(_INSTALL)))
def command(console: Console, shell: str) -> None:
    """Print the completion script of your shell; how to install it stands on stderr."""
    scripts = [_script(shell, name) for name in ("coldstart", "cstart")]
    console.result("\n".join(scripts))
    console.next(*_INSTALL[shell])


def _script(shell: str, name: str) -> str:
    kind = get_completion_class(shell)
    if kind is None:
        raise UsageError(f"there is no completion for {shell}", fix=f"Choose one of {', '.join(_INSTALL)}.")
    # `source()` would first run the shell to ask its version; the script can be made where that shell is not.
    completion = kind(program, {}, name, f"_{name.upper()}_COMPLETE")
    return completion.source_template % completion.source_vars()
