"""Deploy to Modal and look after what was deployed, each through Modal's own command line.

Nothing is kept here: which class an app serves stands in the tag of its release, `Class.digest`.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from coldstart_sdk import bundle as bundles
from coldstart_sdk.backends.modal import call
from coldstart_sdk.backends.modal.compile import class_name
from coldstart_sdk.backends.modal.refuse import TAG
from coldstart_sdk.errors import PlatformError, UsageError
from coldstart_sdk.plan import Plan
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render

_MODULE = "modal_app.py"


def deploy(plan: Plan, bundle: Path) -> Mapping[str, Any]:
    """Fill the volume, deploy, start one worker; nothing of it where this very bundle is live already."""
    tag = _tag(plan, bundle)
    live = _live(plan.spec.name)
    if live.get("tag") == tag:
        return _told(plan, bundle, tag, changed=False)
    if plan.volume and plan.spec.weights:
        _modal("run", f"{_MODULE}::prefetch", cwd=bundle)
    _modal("deploy", _MODULE, "--tag", tag, cwd=bundle)
    return _told(plan, bundle, tag, changed=True)


def status(app: str) -> Mapping[str, Any]:
    """Where it stands, as Modal lists it."""
    rows = [row for row in _json("app", "list") if app in {row.get("description"), row.get("name")}]
    live = [row for row in rows if row.get("state") == "deployed"]
    if not rows:
        raise _unknown(app)
    row = (live or rows)[0]
    release = _live(app) if live else {}
    return {
        "app": app,
        "state": row.get("state"),
        "workers": int(row.get("tasks") or 0),
        "release": release.get("version"),
        "tag": release.get("tag"),
        "deployed_at": release.get("time_deployed"),
    }


def logs(app: str, *, follow: bool) -> Iterator[str]:
    """Lines of its workers; with `follow` also those to come."""
    with _process("app", "logs", app, *(["--follow"] if follow else [])) as process:
        assert process.stdout and process.stderr  # noqa: PT018, S101 - both are pipes
        try:
            for line in process.stdout:
                yield line.rstrip("\n")
        finally:
            process.terminate()
        if process.wait() > 0:
            raise _refused("app logs", process.stderr.read())


def invoke(app: str, endpoint: str | None, arguments: Mapping[str, Any]) -> Iterator[Any]:
    """What the endpoint returns, or each chunk of its stream."""
    return call.invoke(app, _class(app), endpoint, arguments)


def history(app: str) -> tuple[Mapping[str, Any], ...]:
    """Its releases, the latest first."""
    releases = tuple(_releases(app))
    if not releases:
        raise _unknown(app)
    return releases


def rollback(app: str, release: str) -> Mapping[str, Any]:
    """Make an earlier release the live one."""
    version = release if release.startswith("v") else f"v{release}"
    if version not in [each["version"] for each in history(app)]:
        have = ", ".join(str(each["version"]) for each in history(app))
        raise UsageError(f"{app} has no release {release!r}", fix=f"It has {have}.")
    _modal("app", "rollback", app, version)
    return status(app)


def scale(app: str, *, least: int, most: int) -> Mapping[str, Any]:
    """Until the next deployment; Modal then goes by the declaration again."""
    call.scale(app, _class(app), least=least, most=most)
    return {"app": app, "min": least, "max": most, "until": "the next deployment"}


def delete(app: str) -> None:
    """Stop it for good. Its volume stays: `modal volume delete` is for that."""
    options = ["--yes"] if "--yes" in _modal("app", "stop", "--help") else []
    _modal("app", "stop", app, *options)


# ---- releases


def _tag(plan: Plan, bundle: Path) -> str:
    digest = hashlib.sha256((bundle / bundles.MANIFEST).read_bytes()).hexdigest()
    return f"{class_name(plan.spec)}.{digest[:12]}"


def _class(app: str) -> str:
    tag = str(_live(app).get("tag") or "")
    if match := re.fullmatch(TAG, tag):
        return match[1]
    raise PlatformError(
        f"{app} is not on Modal, or was not deployed by coldstart",
        fix="Deploy it: coldstart deploy FILE --target modal",
    )


def _releases(app: str) -> Iterator[Mapping[str, Any]]:
    try:
        yield from _json("app", "history", app)
    except PlatformError as error:
        if not re.search(r"not found|could not find|no app", error.message, re.IGNORECASE):
            raise


def _live(app: str) -> Mapping[str, Any]:
    """The latest release; empty where there is none."""
    return next(iter(_releases(app)), {})


def _told(plan: Plan, bundle: Path, tag: str, *, changed: bool) -> dict[str, Any]:
    """Where it answers, and how a worker of it started."""
    spec = plan.spec
    name = class_name(spec)
    url = call.url(spec.name, name, http=spec.endpoint("http") is None)
    asked = call.Target(app=spec.name, name=name, method="trace", streams=False)
    trace = Trace.from_json(json.dumps(next(call.call(asked, {}))))
    file = bundle / "first.trace.json"
    file.write_text(trace.to_json(), encoding="utf-8")
    sys.stderr.write(render(trace, width=100) + "\n")
    return {
        "app": spec.name,
        "release": _live(spec.name).get("version"),
        "tag": tag,
        "changed": changed,
        "url": url,
        "state": trace.state.value,
        "ready_s": trace.anchors.ready_s,
        "trace": str(file),
    }


def _unknown(app: str) -> PlatformError:
    return PlatformError(
        f"Modal knows no app called {app!r}", fix="Deploy it: coldstart deploy FILE --target modal"
    )


# ---- Modal's command line


def _json(*arguments: str) -> list[dict[str, Any]]:
    """A table of Modal's, with names that do not change with its headings."""
    rows: list[dict[str, Any]] = json.loads(_modal(*arguments, "--json"))
    return [{name.lower().replace(" ", "_"): text for name, text in row.items()} for row in rows]


def _modal(*arguments: str, cwd: Path | None = None) -> str:
    with _process(*arguments, cwd=cwd) as process:
        out, err = process.communicate()
    if process.returncode:
        raise _refused(" ".join(arguments[:2]), err or out)
    return out


def _process(*arguments: str, cwd: Path | None = None) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "modal", *arguments],
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "COLUMNS": "200", "NO_COLOR": "1"},
    )


def _refused(command: str, said: str) -> PlatformError:
    """Modal's own words, without the frame that it draws around them."""
    words = " ".join(
        re.sub(r"[─╭╮╰╯│┌┐└┘]", " ", said).replace(" Error ", " ").replace("Error:", " ").split()
    )
    if "No module named modal" in words:
        return PlatformError(
            "Modal's package is not installed here", fix='pip install "coldstart-sdk[modal]"'
        )
    if "Token missing" in words or "token" in words.lower():
        return PlatformError(f"modal {command}: {words[-300:]}", fix="Sign in: modal setup")
    return PlatformError(f"modal {command}: {words[-300:]}", fix=_mend(words))


def _mend(words: str) -> str:
    if secret := re.search(r"Secret '?([\w.-]+)'?", words):
        return f"Make it: modal secret create {secret[1]} NAME=VALUE"
    return "Mend what it names; `modal --help` knows the command."
