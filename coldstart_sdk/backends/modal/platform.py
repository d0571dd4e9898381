"""Deploy to Modal and look after what was deployed, each through Modal's own command line.

Which class an app serves stands in the tag of its release, `Class.digest`.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from coldstart_sdk.backends.modal import call, log, release, sample
from coldstart_sdk.backends.modal.compile import MODULE, class_name
from coldstart_sdk.backends.modal.refuse import TAG
from coldstart_sdk.errors import ColdstartError, PlatformError, UsageError
from coldstart_sdk.logs import show_end
from coldstart_sdk.plan import Plan
from coldstart_sdk.spec import Snapshot
from coldstart_sdk.trace.model import Trace
from coldstart_sdk.trace.waterfall import render


def changes(plan: Plan, bundle: Path) -> tuple[str, ...]:
    """What a deployment would change, a line each; nothing where this very bundle is live."""
    wanted, live = release.tag(plan, bundle), _live(plan.spec.name)
    return () if live.get("tag") == wanted else tuple(release.changes(bundle, live, wanted))


def deploy(plan: Plan, bundle: Path) -> Mapping[str, Any]:
    """Fill the volume, deploy, ask once; nothing of it where this very bundle is live already."""
    tag, live = release.tag(plan, bundle), _live(plan.spec.name)
    if live.get("tag") == tag:
        url = call.url(plan.spec.name, class_name(plan.spec), http=_has_http(plan))
        return _told(plan, tag, did="nothing to change") | _web(plan, url)
    if plan.volume and plan.spec.weights:
        _modal("run", f"{MODULE}::prefetch", cwd=bundle, is_told=True)
    _modal("deploy", MODULE, "--tag", tag, cwd=bundle, is_told=True)
    try:
        smoke = _smoke(plan, bundle)
    except ColdstartError as failed:
        _show_log(plan.spec.name)
        back = _back(plan.spec.name, live)
        raise PlatformError(f"{failed.message}; {back}", fix=failed.fix, where=failed.where) from failed
    release.keep(bundle, tag)
    return _told(plan, tag, did="updated" if live else "created") | smoke


def _show_log(app: str) -> None:
    """What its worker said, while Modal still has it."""
    with suppress(PlatformError):
        show_end(logs(app, follow=False))


def _smoke(plan: Plan, bundle: Path) -> dict[str, Any]:
    """One request to the first worker, and how that one started."""
    spec, asked = plan.spec, sample.of(plan.spec)
    first = call.first(
        spec.name,
        class_name(spec),
        http=_has_http(plan),
        asked={"endpoint": asked.endpoint, "arguments": asked.arguments} if asked else None,
    )
    trace = Trace.from_json(json.dumps(first["trace"]))
    file = bundle / "first.trace.json"
    file.write_text(trace.to_json(), encoding="utf-8")
    if plan.snapshot is not Snapshot.NONE:
        sys.stderr.write("after the restore, on each cold start\n")
    sys.stderr.write(render(trace, width=100) + "\n")
    return {
        **_web(plan, first["url"]),
        **_answered(asked, first),
        "state": trace.state.value,
        "ready_s": trace.anchors.ready_s,
        "trace": str(file),
    }


def _answered(asked: sample.Sample | None, first: Mapping[str, Any]) -> dict[str, Any]:
    """What came of the request; a refusal of what we made up is an answer."""
    if asked is None:
        return {"asked": "nothing: what its endpoints take is yours to give"}
    refused = first.get("refused")
    chunks = f"{first.get('chunks')} chunks" if asked.streams else "yes"
    return {
        "asked": asked.endpoint,
        "answer": f"refused what was made up: {refused}" if refused else chunks,
        "first_answer_s": first["answered_s"],
    }


def _back(app: str, before: Mapping[str, Any]) -> str:
    """Undo a deployment that does not answer."""
    if not before:
        delete(app)
        return "the new app was stopped"
    try:
        _modal("app", "rollback", app, str(before["version"]))
    except PlatformError as refused:
        return f"and {before['version']} could not be brought back: {refused.message}"
    return f"{before['version']} is live again"


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
            yield from log.read(line.rstrip("\n") for line in process.stdout)
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
    if status(app)["state"] == "stopped":
        return
    options = ["--yes"] if "--yes" in _modal("app", "stop", "--help") else []
    _modal("app", "stop", app, *options)


# ---- releases


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
        if not re.search(r"not found|could not find|no app|is not live", error.message, re.IGNORECASE):
            raise


def _live(app: str) -> Mapping[str, Any]:
    """The latest release; empty where there is none."""
    return next(iter(_releases(app)), {})


def _told(plan: Plan, tag: str, *, did: str) -> dict[str, Any]:
    app = plan.spec.name
    return {"did": did, "app": app, "release": _live(app).get("version"), "tag": tag}


def _web(plan: Plan, url: str) -> dict[str, str]:
    """Where it answers over HTTP, and whom."""
    if plan.spec.overrides.get("modal", {}).get("public"):
        return {"url": url, "asks for": "nothing: it is public"}
    return {"url": url, "asks for": "the headers Modal-Key and Modal-Secret, a proxy token of the workspace"}


def _has_http(plan: Plan) -> bool:
    """Whether the name `http` is free for the HTTP app."""
    return plan.spec.endpoint("http") is None


def _unknown(app: str) -> PlatformError:
    return PlatformError(
        f"Modal knows no app called {app!r}", fix="Deploy it: coldstart deploy FILE --target modal"
    )


# ---- Modal's command line


def _json(*arguments: str) -> list[dict[str, Any]]:
    """A table of Modal's, with names that do not change with its headings."""
    rows: list[dict[str, Any]] = json.loads(_modal(*arguments, "--json"))
    return [{name.lower().replace(" ", "_"): text for name, text in row.items()} for row in rows]


def _modal(*arguments: str, cwd: Path | None = None, is_told: bool = False) -> str:
    """What it says; with `is_told` the person who waits hears it as it comes."""
    with _process(*arguments, cwd=cwd) as process:
        out, err = _heard(process) if is_told else process.communicate()
    if process.returncode:
        raise _refused(" ".join(arguments[:2]), err or out, cwd)
    return out


def _heard(process: subprocess.Popen[str]) -> tuple[str, str]:
    assert process.stdout and process.stderr  # noqa: PT018, S101 - both are pipes
    with ThreadPoolExecutor(max_workers=1) as pool:
        err = pool.submit(process.stderr.read)
        said = []
        for line in process.stdout:
            said.append(line)
            if line.strip():
                sys.stderr.write(f"  {line.rstrip()}\n")
        return "".join(said), err.result()


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


def _refused(command: str, said: str, bundle: Path | None = None) -> PlatformError:
    """Modal's own words, without the frame that it draws around them."""
    words = " ".join(
        re.sub(r"[─╭╮╰╯│┌┐└┘]", " ", said).replace(" Error ", " ").replace("Error:", " ").split()
    )
    if "No module named modal" in words:
        return PlatformError(
            "Modal's package is not installed here", fix='pip install "coldstart-sdk[modal]"'
        )
    if gone := re.search(r"No App with name '([\w.-]+)'", words):
        return PlatformError(
            f"{gone[1]} is not live on Modal", fix="Deploy it: coldstart deploy FILE --target modal"
        )
    return PlatformError(f"modal {command}: {words[-300:]}", fix=_mend(words, bundle))


def _mend(words: str, bundle: Path | None) -> str:
    if secret := re.search(r"Secret '?([\w.-]+)'?", words):
        return f"Make it: modal secret create {secret[1]} {_held_by(secret[1], bundle)}=VALUE"
    if re.search(r"token (missing|id|validation)|authenticat", words, re.IGNORECASE):
        return "Sign in: modal setup"
    return "Mend what it names; `modal --help` knows the command."


def _held_by(secret: str, bundle: Path | None) -> str:
    """The variable that this secret has to hold, as the bundle says it."""
    module = (bundle / MODULE).read_text(encoding="utf-8") if bundle else ""
    said = re.search(rf'from_name\("{re.escape(secret)}", required_keys=\["([^"]+)"\]', module)
    return said[1] if said else "NAME"
