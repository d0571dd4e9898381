"""Read `overrides=`: what one platform is told and the others are not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from coldstart_sdk.declare import secret
from coldstart_sdk.declare.findings import Findings, did_you_mean, kind

TARGETS = ("local", "runpod", "modal")


def read(value: object, found: Findings) -> dict[str, dict[str, Any]]:
    if value is None:
        return {}
    example = 'overrides={"modal": {"region": "eu"}}'
    if not isinstance(value, Mapping):
        found.on_option(f"overrides is {kind(value)}", "overrides", fix=f"Write {example}.")
        return {}
    overrides: dict[str, dict[str, Any]] = {}
    for target, settings in value.items():
        if target not in TARGETS and target not in (installed := _installed_targets()):
            found.on_option(
                f"overrides: there is no target {target!r}",
                "overrides",
                str(target),
                fix=did_you_mean(str(target), (*TARGETS, *installed))
                or f"The targets are {', '.join(sorted({*TARGETS, *installed}))}.",
            )
        elif plain := _settings(str(target), settings, example, found):
            overrides[str(target)] = plain
    return overrides


def _settings(target: str, settings: object, example: str, found: Findings) -> dict[str, Any]:
    if not isinstance(settings, Mapping) or not all(isinstance(key, str) for key in settings):
        found.on_option(
            f"overrides/{target} is {kind(settings)}, not settings by name",
            "overrides",
            target,
            fix=f"Write {example}.",
        )
        return {}
    plain: dict[str, Any] = {}
    for key, value in settings.items():
        written = as_json(value)
        if written is None:
            found.on_option(
                f"overrides/{target}/{key} is {kind(value)}, which JSON cannot hold",
                "overrides",
                target,
                key,
                fix="Use strings, numbers, booleans, lists and mappings of them.",
            )
        elif secret.holds_key(written):
            found.on_option(
                f"overrides/{target}/{key} holds a secret",
                "overrides",
                target,
                key,
                fix="Take it out, revoke it if it was shared, and put its name in secrets=.",
            )
        else:
            plain[key] = json.loads(written)
    return plain


def as_json(value: object) -> str | None:
    """The value as JSON, or None where it is not plain data."""
    try:
        return json.dumps(value, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return None


def _installed_targets() -> frozenset[str]:
    from importlib import metadata  # noqa: PLC0415 - only for a name that is not one of ours

    return frozenset(entry.name for entry in metadata.entry_points(group="coldstart.backends"))
