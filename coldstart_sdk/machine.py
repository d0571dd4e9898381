"""What this machine really gives: cores, memory, when things began, and the environment that suits it.

A container shows the whole host and grants a part of it. Everything here only reads; whoever asks acts on it.
Standard library only, and nothing that is slow to import: a worker asks before it imports anything else.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",  # torch's own kernels, and everything else built with OpenMP
    "MKL_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "RAYON_NUM_THREADS",  # Rust: tokenizers, safetensors; TOKENIZERS_PARALLELISM is only on or off
    "TORCHINDUCTOR_COMPILE_THREADS",  # worker processes, up to 32, each of which imports torch
)

PRESETS: Mapping[str, str] = {
    # A cold start should tell nobody else about itself, nor wait while it does.
    "HF_HUB_DISABLE_TELEMETRY": "1",
    # The driver reads this once, when it is opened. torch sets it as well, but we open the driver before
    # torch is imported; before CUDA 12.2 it would then load every kernel of every library at once.
    "CUDA_MODULE_LOADING": "LAZY",
    # glibc opens up to eight arenas for each core it sees and keeps what was freed in each: a small container
    # on a host of 96 cores pays in memory. Read when a process starts: only a child that is given it gains.
    "MALLOC_ARENA_MAX": "4",
}


_HUB = "hub"
_CACHES: Mapping[str, str] = {
    "TORCH_HOME": "torch",
    "TORCHINDUCTOR_CACHE_DIR": "compiled/inductor",
    "TRITON_CACHE_DIR": "compiled/triton",
    "TORCH_EXTENSIONS_DIR": "compiled/extensions",
    "CUDA_CACHE_PATH": "compiled/cuda",
    "VLLM_CACHE_ROOT": "compiled/vllm",
}
"""Variable → folder below COLDSTART_HOME."""
_OLD = ("TRANSFORMERS_CACHE", "HUGGINGFACE_HUB_CACHE")
"""Other words for the hub's cache: one that is set is set right; else it is left, as its readers complain."""
_NETWORK = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "lustre", "ceph", "9p", "virtiofs", "gpfs", "beegfs", "juicefs"}
)
_READ_INTO = {"HF_HUB_CACHE": ("huggingface_hub.constants", "HF_HUB_CACHE")}
"""Variable → where the library that reads it once keeps what it read."""


def cpu_quota(root: Path = Path("/")) -> int:
    """Whole cores that this process may keep busy: the least of affinity and quotas, never none."""
    return max(1, int(_quota_cores(root)))


def visible_cores() -> int:
    """Cores that a library sees when it asks the system, whatever the quota."""
    return os.cpu_count() or 1


def memory_limit_bytes(root: Path = Path("/")) -> int | None:
    """The least of what the machine has and each control group allows; None where neither can be read."""
    limits = [*_cgroup_memory(root), *_total_memory(root)]
    return min(limits, default=None)


def thread_limits(env: Mapping[str, str], quota: int, visible: int) -> Mapping[str, str]:
    """What to set so that no library starts more threads than `quota`; it only ever lowers.

    Unset is left alone where the library would count right by itself.
    """
    return {
        name: limit
        for name in THREAD_VARIABLES
        if (limit := _lowered(name, env.get(name, ""), quota, visible)) is not None
    }


def boot_env(env: Mapping[str, str]) -> Mapping[str, str]:
    """Presets that a cold start is better with and that `env` does not already decide.

    Not among them: what could hide a package (`PYTHONNOUSERSITE`) or change an answer (`HF_HUB_OFFLINE`).
    """
    return {name: value for name, value in PRESETS.items() if name not in env}


def first_home(places: Sequence[Path], needed_bytes: Callable[[Path], int]) -> tuple[Path, tuple[str, ...]]:
    """Where to keep files: the first place that takes one and has the room; and why others were passed over.

    Where none has the room, the first that takes a file: what is too much for it is refused with its number.
    """
    passed: dict[Path, str] = {}
    writable = []
    for place in places:
        if (why := _unwritable(place)) is not None:
            passed[place] = why
            continue
        needed, free = needed_bytes(place), _free_bytes(place)
        if needed <= free:
            return place, _spelled(passed)
        writable.append(place)
        passed[place] = f"{needed / 1e9:.1f} GB are needed, {free / 1e9:.1f} GB are free"
    chosen = (writable or list(places))[0]
    return chosen, _spelled({place: why for place, why in passed.items() if place != chosen})


def cache_env(env: Mapping[str, str], home: Path, *, has_hub: bool, elsewhere: bool) -> Mapping[str, str]:
    """Where libraries keep what they download and compile: where files are kept between starts.

    What `env` decides stays, but for the hub's cache: with weights of the hub it is where those are. On the
    user's own machine the hub's other files, the token among them, stay where they are.
    """
    found = {name: str(home / folder) for name, folder in _CACHES.items() if name not in env}
    said = {"HF_HOME", "HF_HUB_CACHE"} & env.keys()
    if has_hub or (elsewhere and not said):
        found |= {name: str(home / _HUB) for name in ("HF_HUB_CACHE", *(old for old in _OLD if old in env))}
    if elsewhere and "HF_HOME" not in env:
        token = f"{env.get('XDG_CACHE_HOME') or os.path.expanduser('~/.cache')}/huggingface/token"  # noqa: PTH111 - never raises
        found |= {"HF_HOME": str(home / "huggingface"), "HF_TOKEN_PATH": env.get("HF_TOKEN_PATH") or token}
    return found


def moved_env(pointed: Mapping[str, str], env: Mapping[str, str]) -> tuple[str, ...]:
    """Which of what `cache_env` decided is another by now, or was read before it was decided."""
    moved = {name for name, value in pointed.items() if env.get(name) != value}
    unread = {name for name, place in _READ_INTO.items() if _misread(place, pointed.get(name))}
    return tuple(sorted(moved | unread))


_ONE_START_S = 600.0
"""A container that has been there for longer was not started for this process."""


def process_start_s(root: Path = Path("/")) -> float | None:
    """When this process was started, in seconds on the boot clock; None where the system does not say."""
    return _start_s(root / "proc/self/stat")


def container_start_s(root: Path = Path("/")) -> float | None:
    """When the first process of this container was started, on the boot clock; None outside of one."""
    return _start_s(root / "proc/1/stat") if in_container(root) else None


def container_made_for_s(process_s: float | None, root: Path = Path("/")) -> float | None:
    """The same, of a container that was made for that process; None of one that was there long before."""
    container_s = container_start_s(root)
    if process_s is None or container_s is None or process_s - container_s > _ONE_START_S:
        return None
    return container_s


def in_container(root: Path = Path("/")) -> bool:
    """Whether this process sees a container's file system rather than a whole machine's."""
    if any((root / mark).exists() for mark in (".dockerenv", "run/.containerenv")):
        return True
    groups = _text(root / "proc/1/cgroup")
    return any(word in groups for word in ("docker", "kubepods", "containerd", "libpod", "lxc")) or any(
        _is_overlay_root(line) for line in _text(root / "proc/self/mountinfo").splitlines()
    )


def file_system(path: Path, root: Path = Path("/")) -> str | None:
    """The kind of file system that a path lies on; None where the system does not say."""
    best: tuple[int, str] | None = None
    for line in _text(root / "proc/self/mountinfo").splitlines():
        mount, _, kind = line.partition(" - ")
        where = mount.split()[4].replace("\\040", " ")
        inside = where == "/" or str(path) == where or str(path).startswith(where + os.sep)
        if inside and (best is None or len(where) >= best[0]):
            best = (len(where), kind.split()[0])
    return best[1] if best else None


def is_far(kind: str | None) -> bool:
    """Whether such a file system lies across a network, where each page of a mapped file is a round trip."""
    return kind is not None and (kind in _NETWORK or kind.startswith("fuse"))


def facts(disk: Path, root: Path = Path("/")) -> Mapping[str, str]:
    """What makes one start comparable with another, for a trace; nothing that says whose machine it is."""
    system = os.uname()
    memory = memory_limit_bytes(root)
    return {
        "python": ".".join(str(part) for part in sys.version_info[:3]),
        "kernel": f"{system.sysname} {system.release}",
        "machine": system.machine,
        "cores": str(visible_cores()),
        "cpu_quota": f"{_quota_cores(root):g}",
        "memory_bytes": "unknown" if memory is None else str(memory),
        "disk_free_bytes": str(_free_bytes(disk)),
        "container": "yes" if in_container(root) else "no",
    }


def _misread(place: tuple[str, str], value: str | None) -> bool:
    module, attribute = place
    loaded = sys.modules.get(module)
    return None not in {loaded, value} and getattr(loaded, attribute, value) != value


def _quota_cores(root: Path) -> float:
    return min([float(_affinity()), *_cgroup_cores(root)])


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return visible_cores()


def _lowered(name: str, value: str, quota: int, visible: int) -> str | None:
    """The value to set, or None to leave it."""
    # OpenMP takes a list, one number for each level of nesting.
    levels = [_positive(part, name) for part in value.split(",")]
    if any(level is None for level in levels):
        return str(quota) if visible > quota else None
    capped = ",".join(str(min(level, quota)) for level in levels if level is not None)
    return capped if any(level is not None and level > quota for level in levels) else None


def _positive(value: str, name: str) -> int | None:
    """The number that a library would take for a limit; None for what it reads as "decide yourself"."""
    try:
        number = int(value)
    except ValueError:
        return None
    # Inductor alone takes nought for "no workers"; to the others it means all cores.
    return number if number > 0 or (number == 0 and name == "TORCHINDUCTOR_COMPILE_THREADS") else None


def _cgroup_cores(root: Path) -> Iterator[float]:
    """Each quota on the way from this process's control group up to the root; the tightest one holds."""
    for group in groups("cpu", root):
        v2 = _text(group / "cpu.max").split()
        v1 = [_text(group / f"cpu.cfs_{part}_us").strip() for part in ("quota", "period")]
        for quota, period in (pair for pair in (v2, v1) if len(pair) == 2):  # noqa: PLR2004 - a quota and its period
            if quota.isdigit() and period.isdigit() and int(period) > 0:
                yield int(quota) / int(period)


def _cgroup_memory(root: Path) -> Iterator[int]:
    for group in groups("memory", root):
        for name in ("memory.max", "memory.limit_in_bytes"):
            if (limit := _text(group / name).strip()).isdigit():
                yield int(limit)


def groups(controller: str, root: Path = Path("/")) -> Iterator[Path]:
    """Folders of this process's control groups, v2 and v1, its own first and then upward.

    Inside a container the path may be the host's, which is not mounted there: its folders are absent, and the
    last one, the mount itself, is the container's own group.
    """
    mounts = root / "sys/fs/cgroup"
    for line in _text(root / "proc/self/cgroup").splitlines():
        _, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        if not controllers:
            yield from _upward(mounts, path)
            yield from _upward(mounts / "unified", path)
        elif controller in controllers.split(","):
            yield from _upward(mounts / controllers, path)
            if controllers != controller:
                yield from _upward(mounts / controller, path)


def _upward(mount: Path, path: str) -> Iterator[Path]:
    inside = PurePosixPath(path).relative_to("/") if path.startswith("/") else PurePosixPath()
    if ".." not in inside.parts:  # a group above this container's own, which it cannot see
        yield mount / inside
        yield from (mount / parent for parent in inside.parents if parent != PurePosixPath())
    if inside != PurePosixPath():
        yield mount


def _total_memory(root: Path) -> Iterator[int]:
    for line in _text(root / "proc/meminfo").splitlines():
        if line.startswith("MemTotal:"):
            yield int(line.split()[1]) * 1024


def _start_s(stat: Path) -> float | None:
    # The second field is the command in parentheses, and may itself hold spaces and parentheses.
    _, found, rest = _text(stat).rpartition(")")
    fields = rest.split()
    if not found or len(fields) < 20 or not fields[19].isdigit():  # noqa: PLR2004 - field 22; the third comes first here
        return None
    start = int(fields[19]) / os.sysconf("SC_CLK_TCK")
    # A sandbox that keeps no start times writes nought; one that was restored may write a time to come.
    return start if 0 < start <= time.clock_gettime(_BOOT_CLOCK) else None


def _is_overlay_root(line: str) -> bool:
    mount, _, kind = line.partition(" - ")
    fields = mount.split()
    return len(fields) > 4 and fields[4] == "/" and kind.startswith("overlay ")  # noqa: PLR2004 - where it is mounted


def _spelled(passed: Mapping[Path, str]) -> tuple[str, ...]:
    return tuple(f"{place}: {why}" for place, why in passed.items())


def _unwritable(place: Path) -> str | None:
    """Why no file can be made there; asked by making one, since modes do not tell of every mount."""
    probe = place / f".probe-{os.getpid()}"
    try:
        place.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as refused:
        return refused.strerror or str(refused)
    return None


def _free_bytes(disk: Path) -> int:
    """Free for this user, on the disk that would hold this path."""
    there = next(path for path in (disk.absolute(), *disk.absolute().parents) if path.exists())
    usage = os.statvfs(there)
    return usage.f_bavail * usage.f_frsize


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


_BOOT_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
