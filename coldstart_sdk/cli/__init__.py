"""The command line: one file a verb, and nothing that decides.

`program` finds the verb and prints every error; `console` says how we speak; `prepare` turns FILE into a
plan; `start` follows one worker from outside. A verb's file is imported when it is called.
"""

from __future__ import annotations

import sys


def main() -> None:
    """The commands `coldstart` and `cstart`."""
    from coldstart_sdk.cli import program  # noqa: PLC0415 - the worker half imports this package's neighbours only

    sys.exit(program.run(sys.argv))
