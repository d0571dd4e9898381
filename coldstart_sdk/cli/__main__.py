"""`python -m coldstart_sdk.cli`, where the script `coldstart` is not on the PATH."""

from __future__ import annotations

from coldstart_sdk.cli import main

main()
