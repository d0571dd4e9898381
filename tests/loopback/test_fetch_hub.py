"""Fetching from a Hugging Face hub, through the real huggingface_hub, against a hub on loopback."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

pytest.importorskip("huggingface_hub")

from coldstart_sdk.errors import StorageError
from coldstart_sdk.events import Noted
from coldstart_sdk.rehearsal.faults import Cut, Flip, Refuse
from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.rehearsal.origin import Origin as FileServer
from coldstart_sdk.spec import Origin, WeightSpec
from tests.syncing import FEW_CHUNKS, Syncing, content

LARGE = content(FEW_CHUNKS, seed=3)
FILES = {
    "config.json": b'{"hidden": 8}',
    "odd #1?%20.txt": b"odd name",
    "unet/model.bin": LARGE,
    "unet/notes.md": b"notes",
}


pytestmark = pytest.mark.usefixtures("hub")


def hf(repo: str = "org/model", **more: object) -> WeightSpec:
    return WeightSpec(origin=Origin.HF, source=repo, **more)  # type: ignore[arg-type] # fields by name


def write(root: Path, files: dict[str, bytes]) -> None:
    for path, data in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)


def seen(path: Path) -> dict[str, bytes]:
    return {
        file.relative_to(path).as_posix(): file.read_bytes() for file in path.rglob("*") if file.is_file()
    }


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path)


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    write(tmp_path / "hub" / "org" / "model", FILES)
    write(tmp_path / "hub" / "org" / "gated", {"model.bin": b"gated"})
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.delenv("HF_TOKEN", raising=False)
    with Hub(tmp_path / "hub", gated=["org/gated"], token="hf_good_canary") as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def asked(hub: Hub) -> list[str]:
    """What the hub was asked for this set; the client's own housekeeping left out."""
    return [request.path for request in hub.requests if request.path != "api/agent-harnesses"]


def test_a_repository_arrives_whole(here: Syncing) -> None:
    weight = here.run(hf())

    assert seen(weight.path) == FILES
    assert weight.bytes == sum(map(len, FILES.values()))
    assert here.leftovers() == set()


def test_each_file_costs_the_hub_one_request(hub: Hub, here: Syncing) -> None:
    here.run(hf())

    assert len(asked(hub)) == 2 + len(FILES)


def test_include_and_exclude_choose_before_anything_is_fetched(here: Syncing) -> None:
    weight = here.run(hf(include=("unet/*",), exclude=("*.md",)))

    assert seen(weight.path) == {"unet/model.bin": LARGE}


def test_a_branch_that_has_not_moved_costs_one_request(hub: Hub, here: Syncing) -> None:
    here.run(hf())
    hub.forget()

    weight = here.run(hf())

    assert weight.tier == "disk"
    assert asked(hub) == ["api/models/org/model/revision/main"]
    assert hub.cdn.requests == ()


def test_a_commit_that_is_here_asks_nobody(hub: Hub, here: Syncing) -> None:
    commit = hub.commit("org/model")
    here.run(hf(revision=commit))
    hub.forget()

    weight = here.run(hf(revision=commit))

    assert weight.tier == "disk"
    assert asked(hub) == []


def test_a_branch_that_moved_fetches_only_what_is_new(hub: Hub, here: Syncing, tmp_path: Path) -> None:
    old = here.run(hf())
    (tmp_path / "hub/org/model/config.json").write_bytes(b'{"hidden": 16}')
    hub.forget()

    new = here.run(hf())

    assert seen(new.path) == {**FILES, "config.json": b'{"hidden": 16}'}
    assert seen(old.path) == FILES
    assert hub.cdn.requests == ()


def test_a_hub_that_is_gone_leaves_the_last_good_copy(here: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    here.run(hf())
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")

    weight = here.run(hf())

    assert weight.tier == "disk"
    assert "what was fetched before is used" in here.of(Noted)[0].message


def test_a_flipped_bit_is_caught_in_small_files_and_large_ones(hub: Hub, here: Syncing) -> None:
    hub.cdn.fail(Flip(at_byte=12_345_678))
    hub.fail(Flip(path="*/config.json", at_byte=3), Cut(path="*/notes.md", after_bytes=2))

    assert seen(here.run(hf()).path) == FILES


def test_a_bit_that_stays_wrong_is_refused(hub: Hub, here: Syncing) -> None:
    hub.fail(Flip(path="*/config.json", at_byte=3, times=None))

    with pytest.raises(StorageError, match=r"'config.json' is not what was announced"):
        here.run(hf())


def test_the_token_opens_the_hub_and_never_reaches_the_cdn(
    hub: Hub, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good_canary")

    here.run(hf())

    resolved = [request for request in hub.requests if "/resolve/" in request.path]
    assert {request.authorization for request in resolved} == {True}
    assert hub.cdn.requests
    assert {request.authorization for request in hub.cdn.requests} == {False}
    assert [path for path in here.home.rglob("*") if path.is_file() and b"canary" in path.read_bytes()] == []


def test_a_gated_repository_opens_with_its_token(here: Syncing, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_good_canary")

    assert seen(here.run(hf("org/gated")).path) == {"model.bin": b"gated"}


@pytest.mark.parametrize(
    ("spec", "token", "message", "fix"),
    [
        (hf("org/gated"), None, "gated, and there is no token", "HF_TOKEN"),
        (hf("org/gated"), "hf_bad_canary", "is gated", "Accept the terms at"),
        (hf("org/absent"), None, "no repository org/absent, or it is private", "HF_TOKEN"),
        (hf(revision="v9"), None, "no revision 'v9'", "branch, a tag or a commit"),
        (hf(revision="0" * 40), None, "no revision", "branch, a tag or a commit"),
        (hf(include=("*.safetensors",)), None, "leave none of 4 files", "Patterns match whole paths"),
        (hf("a/b/c"), None, "not a repository name", "org/name"),
    ],
)
def test_what_the_hub_refuses_says_how_to_mend_it(  # noqa: PLR0913, PLR0917 - a row of a table, and two fixtures
    spec: WeightSpec,
    token: str | None,
    message: str,
    fix: str,
    here: Syncing,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if token:
        monkeypatch.setenv("HF_TOKEN", token)

    with pytest.raises(StorageError, match=message) as refused:
        here.run(spec)

    assert fix in refused.value.fix
    assert "canary" not in f"{refused.value} {refused.value.fix} {refused.value.where}"


def test_one_file_that_is_refused_is_named(hub: Hub, here: Syncing) -> None:
    hub.fail(Refuse(path="*/notes.md", status=401, times=None))

    with pytest.raises(StorageError, match=r"'unet/notes.md'") as refused:
        here.run(hf())

    assert "HF_TOKEN" in refused.value.fix


def test_a_mirror_that_answers_pages_is_not_a_hub(
    here: Syncing, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path / "site/api/models/org/model/revision", {"main": b"<html>Sign in</html>"})
    with FileServer(tmp_path / "site") as site:
        monkeypatch.setenv("HF_ENDPOINT", site.url("").rstrip("/"))

        with pytest.raises(StorageError, match="not a Hugging Face hub"):
            here.run(hf())


def test_the_real_client_downloads_from_the_rehearsed_hub(hub: Hub, tmp_path: Path) -> None:
    import huggingface_hub

    got = huggingface_hub.snapshot_download(
        "org/model", endpoint=hub.endpoint, cache_dir=tmp_path / "cache", token=False
    )

    assert seen(Path(got)) == FILES
    shutil.rmtree(tmp_path / "cache")
