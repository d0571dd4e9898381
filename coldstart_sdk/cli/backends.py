"""`coldstart backends`: which platforms can be planned for, and what each can do."""

from __future__ import annotations

from coldstart_sdk import plugins
from coldstart_sdk.cli.console import Console
from coldstart_sdk.cli.verb import verb


@verb(
    "backends",
    ("coldstart backends", "every platform, who brings it, and its verbs"),
    ("coldstart backends --json", "the same for a script"),
)
def command(console: Console) -> None:
    """List the platforms that can be planned for, from which distribution each comes, and its verbs."""
    found = plugins.found()
    rows = [(each, () if each.problem else plugins.verbs(plugins.backend(each.name))) for each in found]
    if console.json:
        console.result_json(
            {
                "backends": [
                    {
                        "name": each.name,
                        "distribution": each.distribution,
                        "version": each.version,
                        "verbs": list(verbs),
                        "problem": each.problem,
                    }
                    for each, verbs in rows
                ]
            }
        )
        return
    console.result(
        console.table(
            (
                (
                    each.name,
                    f"{each.distribution} {each.version}".strip(),
                    f"broken: {each.problem}" if each.problem else ", ".join(verbs),
                )
                for each, verbs in rows
            ),
            heads=("NAME", "FROM", "VERBS"),
        )
    )
    console.next("coldstart plan FILE --target NAME")
