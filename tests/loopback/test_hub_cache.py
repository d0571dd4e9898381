"""Declared weights of the hub, read by its own client offline, under the name that they are known by."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.hub import Hub
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import clearing, hub_cache, views
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.tiers import StoreTier, store_below
from tests.builders import a_weight
from tests.commands import Said, a_project, coldstart
from tests.syncing import Syncing, content

LARGE = content(3 << 20, seed=51)
SMALL = b'{"layers": 2}'

pytest.importorskip("huggingface_hub")

ASKS = """
import json, sys
from huggingface_hub import hf_hub_download, scan_cache_dir, snapshot_download
repo, revision = sys.argv[1], sys.argv[2] if sys.argv[2:] else None
folder = snapshot_download(repo, revision=revision)
file = hf_hub_download(repo, "model.bin", revision=revision)
found = {each.repo_id: sorted(r.commit_hash for r in each.revisions) for each in scan_cache_dir().repos}
print(json.dumps([folder, len(open(file, "rb").read()), found]))
"""


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder = tmp_path / "hub" / "org" / "voice"
    (folder / "sub").mkdir(parents=True)
    (folder / "model.bin").write_bytes(LARGE)
    (folder / "sub" / "config.json").write_bytes(SMALL)
    with Hub(tmp_path / "hub") as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.endpoint)
        yield hub


@pytest.fixture
def here(tmp_path: Path) -> Syncing:
    return Syncing(home=tmp_path / "home", project=tmp_path)


def shown(here: Syncing, **specs: WeightSpec) -> None:
    """Fetch these, and show them to the hub's client."""
    weights = views.link({name: here.run(spec, name) for name, spec in specs.items()}, specs)
    hub_cache.build(Home(here.home), weights, specs)


def asked(here: Syncing, repo: str, revision: str | None = None) -> tuple[Path, int, dict[str, list[str]]]:
    """What the real client finds there, with no network."""
    env = {**os.environ, "HF_HUB_CACHE": str(here.home / "hub"), "HF_HUB_OFFLINE": "1"}
    arguments = [sys.executable, "-c", ASKS, repo, *([revision] if revision else [])]
    done = subprocess.run(arguments, capture_output=True, text=True, check=True, env=env)
    folder, size, found = json.loads(done.stdout)
    return Path(folder), size, found


def test_the_hubs_own_client_finds_a_set_offline_by_its_name(hub: Hub, here: Syncing) -> None:
    shown(here, voice=a_weight())
    hub.forget()

    folder, size, found = asked(here, "org/voice")

    assert (folder.name, size) == (hub.commit("org/voice"), len(LARGE))
    assert (folder / "sub" / "config.json").read_bytes() == SMALL
    assert found == {"org/voice": [hub.commit("org/voice")]}
    assert hub.requests == ()


def test_a_set_pinned_to_a_commit_is_found_by_its_bare_name_too(hub: Hub, here: Syncing) -> None:
    commit = hub.commit("org/voice")
    shown(here, voice=a_weight(revision=commit))

    assert asked(here, "org/voice")[0] == asked(here, "org/voice", commit)[0]


def test_two_sets_of_one_repository_add_up(hub: Hub, here: Syncing) -> None:
    del hub
    shown(here, one=a_weight(include=("*.bin",)), other=a_weight(include=("sub/*",)))

    folder, size, _ = asked(here, "org/voice")

    assert (size, (folder / "sub" / "config.json").read_bytes()) == (len(LARGE), SMALL)


def test_a_newer_commit_is_what_the_name_means_then(hub: Hub, here: Syncing) -> None:
    shown(here, voice=a_weight())
    before = asked(here, "org/voice")[0]
    (hub.directory / "org" / "voice" / "sub" / "config.json").write_bytes(b"{}")

    shown(here, voice=a_weight())
    after = asked(here, "org/voice")[0]

    assert before.name != after.name == hub.commit("org/voice")
    assert (before / "sub" / "config.json").read_bytes() == SMALL
    assert (after / "sub" / "config.json").read_bytes() == b"{}"


def test_no_byte_lies_there_twice(hub: Hub, here: Syncing) -> None:
    del hub
    shown(here, voice=a_weight())

    (blob,) = [file for file in (here.home / "hub").rglob("blobs/*") if file.stat().st_size == len(LARGE)]

    assert blob.samefile(here.home / "blobs" / "sha256" / blob.name)


def test_links_stand_beside_the_sets_own_files(hub: Hub, here: Syncing, tmp_path: Path) -> None:
    del hub
    (tmp_path / "extra.bin").write_bytes(b"of another set")
    extra = WeightSpec(origin=Origin.LOCAL, source=str(tmp_path / "extra.bin"))
    shown(here, voice=a_weight(links={"sub/extra.bin": "extra"}), extra=extra)

    folder, size, found = asked(here, "org/voice")

    assert (folder / "sub" / "extra.bin").read_bytes() == b"of another set"
    assert (folder / "sub" / "config.json").read_bytes() == SMALL
    assert (size, list(found)) == (len(LARGE), ["org/voice"])


@pytest.mark.parametrize("links", [{}, {"more.bin": "model.bin"}])
def test_showing_it_again_changes_nothing(hub: Hub, here: Syncing, links: dict[str, str]) -> None:
    del hub
    shown(here, voice=a_weight(links=links))
    before = {path: path.lstat().st_mtime_ns for path in (here.home / "hub").rglob("*")}

    shown(here, voice=a_weight(links=links))

    assert {path: path.lstat().st_mtime_ns for path in (here.home / "hub").rglob("*")} == before


def test_a_link_that_somebody_broke_is_made_again(hub: Hub, here: Syncing) -> None:
    commit = hub.commit("org/voice")
    shown(here, voice=a_weight())
    link = here.home / "hub" / "models--org--voice" / "snapshots" / commit / "model.bin"
    link.unlink()
    link.write_bytes(b"half")

    shown(here, voice=a_weight())

    assert link.read_bytes() == LARGE


def test_what_lies_on_a_volume_is_shown_without_a_copy(hub: Hub, here: Syncing, tmp_path: Path) -> None:
    from tests.loopback import test_tiers

    del hub
    first = Syncing(home=tmp_path / "first", project=tmp_path)
    first.run(a_weight())
    test_tiers.filled(str(tmp_path / "volume"), first)
    weight = here.run(a_weight(), tiers=[StoreTier("volume", lambda: store_below(str(tmp_path / "volume")))])

    hub_cache.build(Home(here.home), {"w": weight}, {"w": a_weight()})

    assert (weight.tier, here.blobs()) == ("volume", set())
    assert asked(here, "org/voice")[1] == len(LARGE)


def test_a_clean_up_takes_a_repository_that_shows_what_nobody_reaches(hub: Hub, here: Syncing) -> None:
    shown(here, voice=a_weight())
    (hub.directory / "org" / "voice" / "model.bin").write_bytes(LARGE[:-1] + b"?")
    shown(here, voice=a_weight())
    home = Home(here.home)

    clearing.clear(home, clearing.survey(home, grace_s=-1), grace_s=-1)
    left = list((here.home / "hub").iterdir())
    shown(here, voice=a_weight())

    assert left == []
    assert asked(here, "org/voice")[0].name == hub.commit("org/voice")


LOADS = """
@warm_model(name="voice", weights={{"voice": Weights.hf("org/voice")}}, env={env})
class Voice:
    @hook.load
    def load(self, weights):
        from huggingface_hub import snapshot_download
        self.folder = snapshot_download("org/voice")
        self.caches = {{name: os.environ.get(name) for name in
            ("HF_HUB_CACHE", "TORCH_HOME", "TORCHINDUCTOR_CACHE_DIR", "TRITON_CACHE_DIR", "CUDA_CACHE_PATH")}}
        {then}

    @endpoint
    def where(self) -> dict[str, str | None]:
        return {{"folder": self.folder, **self.caches}}
"""


OFFLINE = '{"HF_HUB_OFFLINE": "1"}'


def started(hub: Hub, folder: Path, *, env: str = OFFLINE, then: str = "pass", lock: bool = True) -> Said:
    """A start on an empty machine."""
    a_project(folder, LOADS.format(env=env, then=then))
    said = {"HF_ENDPOINT": hub.endpoint, "HF_TOKEN": "", "COLDSTART_HOME": str(folder / "home")}
    if lock:
        assert coldstart("lock", "app.py", cwd=folder, env=said).code == 0
    return coldstart("run", "app.py", cwd=folder, env={**said, "HF_HUB_CACHE": "/elsewhere"})


def test_a_start_reads_what_was_declared_offline_by_name(hub: Hub, tmp_path: Path) -> None:
    said = started(hub, tmp_path / "project")

    home = tmp_path / "project" / "home"
    told = json.loads(said.out)
    assert said.code == 0, said.err
    assert Path(told["folder"]).is_relative_to(home / "hub")
    assert told["HF_HUB_CACHE"] == str(home / "hub")
    assert Path(told["TORCHINDUCTOR_CACHE_DIR"]).is_relative_to(home)


def test_offline_and_without_a_lock_an_empty_machine_names_the_lock(hub: Hub, tmp_path: Path) -> None:
    said = started(hub, tmp_path / "project", lock=False)

    assert said.code == 5
    assert "coldstart lock FILE" in said.problems[0]["fix"]
    assert hub.requests == ()


def test_what_env_of_the_declaration_says_wins(hub: Hub, tmp_path: Path) -> None:
    mine = tmp_path / "mine"
    said = started(hub, tmp_path / "project", env=f'{{"HF_HUB_CACHE": "{mine}"}}')

    assert said.code == 0, said.err
    assert json.loads(said.out)["HF_HUB_CACHE"] == str(mine)


def test_code_that_moves_a_cache_is_told_of(hub: Hub, tmp_path: Path) -> None:
    said = started(hub, tmp_path / "project", then='os.environ["TORCH_HOME"] = "/elsewhere"')

    assert said.code == 0, said.err
    assert "TORCH_HOME is not what this start set it to" in said.err
