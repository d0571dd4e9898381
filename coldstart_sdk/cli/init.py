"""`coldstart init`: write a project whose declaration runs at once."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import click

from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import verb
from coldstart_sdk.declare.options import app_name
from coldstart_sdk.errors import UsageError

TEMPLATES: Mapping[str, str] = {
    "blank": "-i name=world",
    "tts": "-i text='hello out there' -o hello.wav",
    "video": "-i prompt=waves -o waves.png",
    "llm": "-i prompt='the worker'",
}
"""Name → the arguments of its first call."""
_FOLDER = Path(__file__).parent / "templates"


@verb(
    "init",
    ("coldstart init hello --template tts", "text to speech, in the folder hello"),
    ("coldstart init --template llm", "a streamed text, here"),
)
@click.argument("folder", default=".", type=click.Path(file_okay=True), metavar="[DIR]")
@click.option(
    "--template",
    type=click.Choice(list(TEMPLATES)),
    default="blank",
    show_default=True,
    help="What the class does; each runs with nothing but coldstart installed.",
)
def command(console: Console, folder: str, template: str) -> None:
    """Write a declaration that runs at once, to be changed into yours. Never overwrites anything."""
    target = Path(folder).expanduser()
    files = {
        path.name: path.read_bytes() for path in sorted((_FOLDER / template).iterdir()) if path.is_file()
    }
    files["app.py"] = _named(files["app.py"], template, target)
    files[".gitignore"] = b"__pycache__/\n.venv/\n/build/\n"
    _refuse_existing(target, files)
    try:
        target.mkdir(parents=True, exist_ok=True)
        for name, content in files.items():
            (target / name).write_bytes(content)
    except OSError as refused:
        raise UsageError(
            f"cannot write there: {refused.strerror}",
            where=str(refused.filename or target),
            fix="Name another folder.",
        ) from refused
    if console.json:
        console.result_json({"folder": str(target.resolve()), "files": sorted(files)})
        return
    for name in sorted(files):
        console.result(f"wrote   {target / name}\n")
    declaration = target / "app.py"
    console.next(
        f"coldstart run {declaration} {TEMPLATES[template]}",
        f"coldstart serve {declaration}",
        "coldstart run --help",
    )


def _named(declaration: bytes, template: str, target: Path) -> bytes:
    """With the folder's name: two projects of one template must not become one app on a platform."""
    name = app_name(target.resolve().name) or template
    return declaration.replace(f'name="{template}"'.encode(), f'name="{name}"'.encode(), 1)


def _refuse_existing(target: Path, files: Mapping[str, bytes]) -> None:
    if target.exists() and not target.is_dir():
        raise UsageError(f"{target} is a file", fix="Name a folder.")
    there = [
        str(target / name)
        for name in sorted(files)
        if (target / name).is_symlink() or (target / name).exists()
    ]
    if there:
        raise UsageError(
            f"{', '.join(there)} {'is' if len(there) == 1 else 'are'} there already",
            fix="Name a new folder: coldstart init NAME. Nothing was written.",
            where=str(target),
        )
