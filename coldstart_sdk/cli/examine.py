"""Look at this machine and its settings; nothing leaves it, and no secret's value is kept."""

from __future__ import annotations

import configparser
import importlib.util
import json
import locale
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from coldstart_sdk import machine
from coldstart_sdk.cli import settings
from coldstart_sdk.cli.findings import Finding, ok, problem, warn
from coldstart_sdk.cli.settings import Settings
from coldstart_sdk.errors import ColdstartError
from coldstart_sdk.spec import Spec
from coldstart_sdk.trace import figures

if TYPE_CHECKING:
    from coldstart_sdk.cuda.driver import Device

_LOW_DISK_BYTES = 10 * 10**9
_LOW_MEMORY_BYTES = 2 * 10**9
_TORCH_LIMIT_S = 60
_TORCH = """\
import json, torch
archs = torch.cuda.get_arch_list() if torch.version.cuda else []
print(json.dumps({"version": torch.__version__, "cuda": torch.version.cuda, "archs": archs}))
"""
_CREDENTIALS = (
    "HF_TOKEN",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "RUNPOD_API_KEY",
    "MODAL_TOKEN_ID",
    "MODAL_TOKEN_SECRET",
)
_PAIRS = (("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"), ("MODAL_TOKEN_ID", "MODAL_TOKEN_SECRET"))
_PROXIES = ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy")
_BUNDLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "AWS_CA_BUNDLE")


def everything(spec: Spec | None, said: Settings) -> Iterator[Finding]:
    """Each finding as it is made, the quick ones first."""
    yield from _python()
    yield from _locale()
    yield from _cores_and_memory()
    yield from _home(said)
    yield from _credentials(os.environ)
    yield from _secrets(spec, os.environ)
    yield from _network_settings(os.environ)
    torch = _ask_torch()
    yield torch.finding
    yield from _gpu(spec, torch.archs)


def _python() -> Iterator[Finding]:
    version = platform.python_version()
    if (3, 10) <= sys.version_info[:2] <= (3, 13):
        yield ok("python", f"{version}, {sys.executable}")
    else:
        yield problem(
            "python",
            f"{version} is not one of 3.10 to 3.13",
            fix="Make an environment with one: python3.12 -m venv .venv",
        )
    yield ok("system", f"{platform.system()} {platform.release()}, {platform.machine()}")


def _locale() -> Iterator[Finding]:
    encoding = locale.getpreferredencoding(do_setlocale=False)
    if encoding.lower().replace("-", "") == "utf8":
        yield ok("locale", encoding)
    else:
        yield warn("locale", f"text is {encoding}, not UTF-8", fix="Set LC_ALL=C.UTF-8.")


def _cores_and_memory() -> Iterator[Finding]:
    granted, seen = machine.cpu_quota(), machine.visible_cores()
    limited = f"{granted} of {seen} that libraries see" if granted < seen else str(granted)
    yield ok("cores", f"{limited}; thread counts are capped at {granted}")
    memory = machine.memory_limit_bytes()
    if memory is None:
        yield warn(
            "memory",
            "its limit cannot be read",
            fix="Look at how much this machine grants before a large load.",
        )
    elif memory < _LOW_MEMORY_BYTES:
        yield warn(
            "memory", f"{figures.size(memory)} is granted", fix="Give it more: weights pass through memory."
        )
    else:
        yield ok("memory", f"{figures.size(memory)} is granted")


def _home(said: Settings) -> Iterator[Finding]:
    try:
        home = settings.home(None, os.environ, said)
    except ColdstartError as error:
        where = f": {error.where}" if error.where else ""
        yield problem("home", f"{error.message}{where}", fix=error.fix)
        return
    free = shutil.disk_usage(home).free
    if free < _LOW_DISK_BYTES:
        yield warn(
            "disk", f"{figures.size(free)} free for {home}", fix="Set COLDSTART_HOME to a larger disk."
        )
    else:
        yield ok("disk", f"{figures.size(free)} free for {home}")


def _credentials(env: Mapping[str, str]) -> Iterator[Finding]:
    """Which are there; of a value only whether it was pasted well."""
    there = [name for name in _CREDENTIALS if env.get(name)]
    yield ok("credentials", f"set: {', '.join(there) or 'none'}")
    for name in there:
        if _is_badly_pasted(env[name]):
            yield problem(
                "credentials",
                f"{name} has white space or quotes in it",
                fix=f"Set {name} again without the newline, space or quotes that came with the paste.",
            )
    for one, other in _PAIRS:
        if bool(env.get(one)) != bool(env.get(other)):
            is_there, lacks = (one, other) if env.get(one) else (other, one)
            yield problem(
                "credentials", f"{is_there} is set and {lacks} is not", fix=f"Set both, or unset {is_there}."
            )
    profile = env.get("AWS_PROFILE")
    if profile and profile not in _profiles(env):
        yield problem(
            "credentials", f"AWS_PROFILE names {profile!r:.60}, which no file has", fix="See ~/.aws/config."
        )


def _secrets(spec: Spec | None, env: Mapping[str, str]) -> Iterator[Finding]:
    for name in spec.secrets if spec else ():
        if env.get(name):
            yield ok("secrets", f"{name} is set")
        else:
            yield warn(
                "secrets",
                f"{name} is declared and not set here",
                fix=f"Set it for this shell: export {name}=…",
            )


def _network_settings(env: Mapping[str, str]) -> Iterator[Finding]:
    proxies = [name for name in _PROXIES if env.get(name)]
    if proxies and not (env.get("NO_PROXY") or env.get("no_proxy")):
        yield warn(
            "proxy",
            f"{', '.join(proxies)} is set, and NO_PROXY is not",
            fix="Set NO_PROXY=127.0.0.1,localhost, or calls to `coldstart serve` go through the proxy.",
        )
    elif proxies:
        yield ok("proxy", f"{', '.join(proxies)} is set")
    for name in _BUNDLES:
        if env.get(name) and not Path(env[name]).exists():
            yield problem(
                "certificates",
                f"{name} names {env[name]}, which is not there",
                fix=f"Unset {name}, or name a file.",
            )


@dataclass(frozen=True, kw_only=True)
class _Torch:
    finding: Finding
    archs: tuple[str, ...] = ()
    """What its wheel is built for."""


def _ask_torch() -> _Torch:
    """Asked in a process of its own: a broken torch may hang, or crash."""
    if importlib.util.find_spec("torch") is None:
        return _Torch(finding=ok("torch", "not installed"))
    again = "Install it again: pip install --force-reinstall torch"
    try:
        asked = subprocess.run(
            [sys.executable, "-c", _TORCH],
            capture_output=True,
            text=True,
            timeout=_TORCH_LIMIT_S,
            check=False,
        )
        told = json.loads(asked.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        said = f"its import did not end within {_TORCH_LIMIT_S} s"
        return _Torch(finding=problem("torch", said, fix=again))
    except (IndexError, ValueError):
        last = (asked.stderr.strip().splitlines() or [f"it ended with {asked.returncode}"])[-1]
        return _Torch(finding=problem("torch", f"cannot be imported: {last:.200}", fix=again))
    archs = tuple(told["archs"])
    built = f"for CUDA {told['cuda']}, built for {', '.join(archs)}" if told["cuda"] else "for the CPU alone"
    return _Torch(finding=ok("torch", f"{told['version']}, {built}"), archs=archs)


def _gpu(spec: Spec | None, archs: tuple[str, ...]) -> Iterator[Finding]:
    from coldstart_sdk import cuda  # noqa: PLC0415 - opens the driver's library

    wanted = ", ".join(spec.gpu) if spec and spec.gpu else None
    try:
        found = cuda.describe()
    except (cuda.NoDriver, cuda.NoDevice) as absent:
        if wanted is None:
            yield ok("gpu", absent.message)
        else:
            yield warn(
                "gpu",
                f"{absent.message}; the declaration asks for {wanted}",
                fix="Here it runs on the CPU; see `coldstart plan FILE --target runpod`.",
            )
        return
    except cuda.CudaError as sick:
        yield problem("gpu", sick.message, fix=sick.fix)
        return
    yield ok("driver", f"{found.driver or 'unknown version'}, speaks CUDA {found.cuda}")
    for device in found.devices:
        yield _device(device, archs)


def _device(device: Device, archs: tuple[str, ...]) -> Finding:
    from coldstart_sdk import cuda  # noqa: PLC0415 - as above

    try:
        if archs:
            cuda.check_wheel(device, archs)
    except cuda.WrongWheel as wrong:
        return problem("gpu", wrong.message, fix=wrong.fix)
    return ok("gpu", f"{device.name}, {figures.size(device.memory_bytes)}")


def _is_badly_pasted(value: str) -> bool:
    return value != value.strip() or "\n" in value or value[0] in "\"'" or value[-1] in "\"'"


def _profiles(env: Mapping[str, str]) -> set[str]:
    home = Path(env.get("HOME", "/"))
    files = (
        Path(env.get("AWS_CONFIG_FILE") or home / ".aws/config"),
        Path(env.get("AWS_SHARED_CREDENTIALS_FILE") or home / ".aws/credentials"),
    )
    parser = configparser.RawConfigParser(strict=False)
    try:
        parser.read(files, encoding="utf-8")
    except configparser.Error:
        return set()
    return {section.removeprefix("profile ").strip() for section in parser.sections()} | {"default"}
