"""Less than the machine has, for one process: cores, or reads of a disk, by a control group of its own.

Needs the right to make one; where there is none, `UnlimitedError` says so.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


class UnlimitedError(Exception):
    """Control groups are not for this user."""


@contextmanager
def cores(count: float) -> Iterator[tuple[str, ...]]:
    """What to put before a command."""
    quota = int(count * 100_000)
    v1 = {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": str(quota)}
    with _group("cpu", v1, {"cpu.max": f"{quota} 100000"}) as prefix:
        yield prefix


@contextmanager
def reads(per_s: int, *, of: Path) -> Iterator[tuple[str, ...]]:
    """The same, for reads from the disk under that file."""
    device = os.stat(of).st_dev  # noqa: PTH116 - its number alone
    number = f"{os.major(device)}:{os.minor(device)}"
    v1 = {"blkio.throttle.read_iops_device": f"{number} {per_s}"}
    with _group("blkio", v1, {"io.max": f"{number} riops={per_s}"}) as prefix:
        yield prefix


@contextmanager
def _group(controller: str, v1: Mapping[str, str], v2: Mapping[str, str]) -> Iterator[tuple[str, ...]]:
    is_v1 = (_GROUPS / controller / "cgroup.procs").exists()
    group = (_GROUPS / controller if is_v1 else _GROUPS) / f"coldstart-{os.getpid()}"
    try:
        group.mkdir()
        try:
            for name, text in (v1 if is_v1 else v2).items():
                (group / name).write_text(text)
            yield ("sh", "-c", f'echo $$ > {group}/cgroup.procs && exec "$@"', "sh")
        finally:
            group.rmdir()
    except OSError as exc:
        raise UnlimitedError(f"no control group of {controller} can be made here: {exc}") from exc
