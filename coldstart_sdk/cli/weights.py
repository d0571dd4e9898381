"""`coldstart weights`: list what lies here and in a store, bring it, send it, check it, clear it up."""

from __future__ import annotations

import os
import sys
from collections.abc import Collection, Iterable, Iterator
from pathlib import Path

import click

from coldstart_sdk.cli import prepare, settings
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.live import agreed
from coldstart_sdk.cli.moving import Moving, short, there
from coldstart_sdk.cli.prepare import Asked
from coldstart_sdk.cli.story import Story
from coldstart_sdk.cli.verb import complete_file, home_option, verb
from coldstart_sdk.declare import addresses
from coldstart_sdk.errors import StorageError, UsageError
from coldstart_sdk.events import Outcome, StepEnded, StepProgress, StepStarted, now
from coldstart_sdk.storage import clearing, janitor
from coldstart_sdk.storage.home import Home, write_whole
from coldstart_sdk.storage.janitor import Damage, Held, Survey
from coldstart_sdk.trace import figures

_NEEDS_FILE = {"ls": False, "pull": True, "push": True, "verify": False, "gc": None}
"""None: the action takes no file."""
_SHOWN = 12


@verb(
    "weights",
    ("coldstart weights ls app.py", "each weight of the declaration: locked, here, in the store"),
    ("coldstart weights ls", "every set that is kept in COLDSTART_HOME"),
    ("coldstart weights pull app.py", "bring them here, as a start would"),
    ("coldstart weights push app.py f5 --store s3://bucket/models", "fill a store with one of them"),
    ("coldstart weights verify", "read what is kept here from first byte to last"),
    ("coldstart weights gc", "show what no set needs any more, and ask before it goes"),
    ("coldstart weights gc --store s3://bucket/models --yes", "the same in a store, unasked"),
)
@click.argument("action", type=click.Choice([*_NEEDS_FILE]))
@click.argument("file", required=False, metavar="[FILE[:CLASS]]", shell_complete=complete_file)
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "--store", metavar="URL", help="Your own copy of the weights; for verify and gc instead of here."
)
@click.option(
    "--grace",
    type=click.FloatRange(min=0),
    default=24.0,
    show_default=True,
    metavar="HOURS",
    help="gc: leave what is younger.",
)
@click.option("--yes", "-y", is_flag=True, help="gc: remove without a question.")
@home_option
def command(  # noqa: PLR0913 - one name for each option
    console: Console,
    *,
    action: str,
    file: str | None,
    names: tuple[str, ...],
    store: str | None,
    grace: float,
    yes: bool,
    home: str | None,
) -> int:
    """Look after weights, here and in a store.

    ACTION is ls, pull, push, verify or gc. pull and push are about the weights of FILE, all of them or those
    of a NAME; ls and verify about these, or without FILE about all that is kept. gc takes away only what no
    set reaches and what is older than the grace period, and shows it first.
    """
    _refuse_misplaced(action, file, store)
    moving = None
    if file is not None:
        moving = Moving(prepare.prepare_here(Asked(file=file, store=store, home=home)), file, names, console)
    here = Home.open(settings.home(home, os.environ, settings.of_project(Path.cwd())))
    match action:
        case "pull" if moving:
            moving.pull()
        case "push" if moving:
            moving.push()
        case "ls" if moving:
            moving.list()
        case "ls":
            _list(_sets_in(store) if store else clearing.sets(here), console)
        case "verify":
            return _verify(store, moving, here, console)
        case _:
            _clear(store, here, grace * 3600, console, yes=yes)
    return 0


def _refuse_misplaced(action: str, file: str | None, store: str | None) -> None:
    """What does not go together, before anything is looked at."""
    if store and (wrong := addresses.store_fault(store, "--store")):
        raise UsageError(wrong.message, where="--store", fix=wrong.fix)
    needs = _NEEDS_FILE[action]
    if needs and file is None:
        raise UsageError(f"`weights {action}` needs FILE", fix=f"Write `coldstart weights {action} FILE`.")
    if needs is None and file is not None:
        raise UsageError(
            f"`weights {action}` takes no FILE: it is about all that is kept",
            where=file,
            fix=f"Write `coldstart weights {action}`, with --store for a store.",
        )
    if action == "verify" and file and store:
        raise UsageError(
            "`weights verify` looks at FILE's weights here, or at a store, not at both",
            where=file,
            fix="Leave one of them out.",
        )


# ---- ls


def _list(found: Iterable[Held], console: Console) -> None:
    held = list(found)
    if console.json:
        sets = [
            {
                "ref": each.ref,
                "origin": each.manifest.origin.value,
                "source": each.manifest.source,
                "revision": each.manifest.revision,
                "files": len(each.manifest.files),
                "bytes": each.manifest.bytes,
                "lacking": each.lacking,
            }
            for each in held
        ]
        console.result_json({"sets": sets})
        return
    rows = ((*_row(each), "yes" if not each.lacking else f"lacks {len(each.lacking)}") for each in held)
    console.result(console.table(rows, heads=("FROM", "REVISION", "FILES", "SIZE", "WHOLE")))


def _row(held: Held) -> tuple[str, ...]:
    manifest = held.manifest
    source = f"{manifest.origin.value}:{manifest.source}"
    return source, short(manifest.revision), str(len(manifest.files)), figures.size(manifest.bytes)


def _sets_in(address: str) -> Iterator[Held]:
    with there(address) as store:
        yield from janitor.sets(store)


# ---- verify


def _verify(store: str | None, moving: Moving | None, here: Home, console: Console) -> int:
    """The exit code: 5 where something is damaged."""
    if store:
        damage, fix = list(_damage_in(store, here)), "Send it again: coldstart weights push FILE"
    else:
        damage = list(_damage_here(here, set(moving.refs.values()) if moving else None, console))
        fix = "What was damaged is removed. Bring it again: coldstart weights pull FILE"
    if console.json:
        console.result_json({"damaged": damage, "fix": fix if damage else None})
    elif damage:
        rows = ((each.ref, each.path, each.problem) for each in damage)
        console.result(console.table(rows, heads=("SET", "FILE", "PROBLEM")))
        console.next(fix)
    else:
        console.did("verified", f"nothing is damaged in {store or here.root}")
    return StorageError.exit_code if damage else 0


def _damage_here(home: Home, refs: Collection[str] | None, console: Console) -> Iterator[Damage]:
    held = [each for each in clearing.sets(home) if refs is None or each.ref in refs]
    story, step = Story(console), "verify"
    total, done = sum(each.manifest.bytes for each in held), 0

    def moved(count: int) -> None:
        nonlocal done
        done += count
        story(StepProgress(at_s=now(), step=step, done_bytes=done, total_bytes=total))

    story(StepStarted(at_s=now(), step=step))
    for each in held:
        yield from clearing.verify(home, each, moved)
    story(StepEnded(at_s=now(), step=step, outcome=Outcome.DONE, reason=None))


def _damage_in(address: str, here: Home) -> Iterator[Damage]:
    """Of a store, noted here too: the next push then looks closer than at sizes."""
    with there(address) as store:
        for damage in janitor.verify(store):
            if damage.digest:
                write_whole(here.suspect(damage.digest), b"")
            yield damage


# ---- gc


def _clear(store: str | None, here: Home, grace_s: float, console: Console, *, yes: bool) -> None:
    where = store or str(here.root)
    found = _survey(store, here, grace_s)
    count = len(found.unreached) + len(found.uploads)
    if not console.json:
        _show(found, count, where, console)
    removed = None
    if count and _may_remove(f"Remove {figures.size(found.bytes)} from {where}?", console, yes=yes):
        removed = _removed(store, here, found, grace_s)
        gone = len(removed.unreached) + len(removed.uploads)
        console.did("removed", f"{_names(gone)}, {figures.size(removed.bytes)}")
    if console.json:
        console.result_json({"where": where, "found": found, "removed": removed})


def _survey(store: str | None, here: Home, grace_s: float) -> Survey:
    if store is None:
        return clearing.survey(here, grace_s=grace_s)
    with there(store) as opened:
        return janitor.survey(opened, grace_s=grace_s)


def _removed(store: str | None, here: Home, found: Survey, grace_s: float) -> Survey:
    if store is None:
        return clearing.clear(here, found, grace_s=grace_s)
    with there(store) as opened:
        return janitor.clean(opened, found, grace_s=grace_s)


def _may_remove(question: str, console: Console, *, yes: bool) -> bool:
    """Whoever cannot be asked was only shown it."""
    if not yes and (console.json or not sys.stdin.isatty()):
        console.next("add --yes to remove this")
        return False
    return agreed(question, yes=yes)


def _show(found: Survey, count: int, where: str, console: Console) -> None:
    for key in found.unreached[:_SHOWN]:
        console.result(f"{key}\n")
    for key, _ in found.uploads[:_SHOWN]:
        console.result(f"an unfinished upload of {key}\n")
    if (more := count - min(len(found.unreached), _SHOWN) - min(len(found.uploads), _SHOWN)) > 0:
        console.result(f"and {more} more\n")
    said = f"{_names(count)} that no set needs, {figures.size(found.bytes)}" if count else "nothing to remove"
    console.did("found", f"{said} in {where}; {found.kept} files stay")


def _names(count: int) -> str:
    return "1 name" if count == 1 else f"{count} names"
