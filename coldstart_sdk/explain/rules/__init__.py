"""Every rule there is: a function from evidence to findings, in a module of its own kind.

A rule says nothing where the trace shows nothing: an absent count is no proof of innocence, but no finding
either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeAlias

from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.finding import Finding
from coldstart_sdk.explain.rules import (
    compile_cache,
    device_at_import,
    few_streams,
    hidden_download,
    idle_settings,
    image_size,
    late_imports,
    mapped_weights,
    missing_bytecode,
    nobody_waits,
    random_init,
    rate_limited,
    rebuilt_extension,
    repeated_work,
    serial_loads,
    snapshot_off,
    threads,
    unlocked_origin,
    unused_imports,
    vendor_sdk,
    warmup,
)

Rule: TypeAlias = Callable[[Evidence], Iterator[Finding]]

RULES: tuple[Rule, ...] = (
    unlocked_origin.find,
    few_streams.find,
    mapped_weights.find,
    rate_limited.find,
    missing_bytecode.find,
    unused_imports.find,
    vendor_sdk.find,
    late_imports.find,
    hidden_download.in_load,
    hidden_download.in_request,
    hidden_download.installed,
    device_at_import.find,
    random_init.find,
    serial_loads.find,
    warmup.too_big,
    warmup.missing,
    warmup.per_shape,
    compile_cache.missed,
    compile_cache.bypassed,
    compile_cache.per_shape,
    compile_cache.late_environment,
    rebuilt_extension.find,
    threads.find,
    nobody_waits.find,
    repeated_work.find,
    image_size.find,
    idle_settings.find,
    snapshot_off.find,
)
