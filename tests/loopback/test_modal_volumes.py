"""A volume on the plane is as Modal's: committed or not, reloaded or not, never a folder that all share."""

from __future__ import annotations

import os
import signal
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.modal_clients import Client, every_client, newest_client
from tests.modals import Deployed, a_plane

SHELF = """
import os
from pathlib import Path
import modal
app = modal.App("shelf")
volume = modal.Volume.from_name("shelf", create_if_missing=True)
image = modal.Image.debian_slim(python_version="3.11").env({"SHELF": "/shelf"})

@app.cls(image=image, volumes={"/shelf": volume})
class Shelf:
    who: str = modal.parameter()
    @modal.method()
    def write(self, name, text):
        file = Path(os.environ["SHELF"], name)
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
    @modal.method()
    def read(self, name):
        file = Path(os.environ["SHELF"], name)
        return file.read_text() if file.exists() else None
    @modal.method()
    def names(self):
        return sorted(path.name for path in Path(os.environ["SHELF"]).rglob("*"))
    @modal.method()
    def remove(self, name):
        Path(os.environ["SHELF"], name).unlink()
    @modal.method()
    def hold(self, name):
        self.held = Path(os.environ["SHELF"], name).open()
    @modal.method()
    def let_go(self):
        self.held.close()
    @modal.method()
    def commit(self):
        volume.commit()
    @modal.method()
    def reload(self):
        volume.reload()

@app.function(image=image, volumes={"/shelf": volume})
def prefetch(commits):
    Path(os.environ["SHELF"], "weights").write_text("bytes")
    if commits:
        volume.commit()
"""
HEAD = """
import modal
Shelf = modal.Cls.from_name("shelf", "Shelf")
prefetch = modal.Function.from_name("shelf", "prefetch")
one, two = Shelf(who="one"), Shelf(who="two")
"""


@contextmanager
def a_shelf(folder: Path, client: Client, *, commit_every_s: float | None = None) -> Iterator[Deployed]:
    (folder / "shelf.py").write_text(SHELF)
    with a_plane(folder, client, commit_every_s=commit_every_s) as there:
        deployed = there.modal("deploy", "shelf.py")
        assert deployed.code == 0, deployed.err
        yield there


def told(there: Deployed, script: str) -> list[Any]:
    tell = "import json\ndef tell(value):\n    print('=' + json.dumps(value), flush=True)\n"
    ended = there.run("-c", tell + HEAD + textwrap.dedent(script))
    assert ended.code == 0, f"{ended.err}\n{there.log}"
    return ended.told


def ended(there: Deployed, number: signal.Signals) -> None:
    """Every container, by a signal, and for good."""
    for container in there.plane.containers.live:
        assert container.process
        os.kill(container.process.pid, number)
        there.plane.do(container.ended.wait())


@every_client
def test_a_write_is_seen_elsewhere_once_it_is_committed_here_and_reloaded_there(
    tmp_path: Path, client: Client
) -> None:
    with a_shelf(tmp_path, client) as there:
        seen = told(
            there,
            """
            tell(two.read.remote("deep/a"))
            one.write.remote("deep/a", "1")
            two.reload.remote()
            tell([one.read.remote("deep/a"), two.read.remote("deep/a"), Shelf(who="3").read.remote("deep/a")])
            one.commit.remote()
            tell([two.read.remote("deep/a"), Shelf(who="4").read.remote("deep/a")])
            two.reload.remote()
            tell(two.read.remote("deep/a"))
            """,
        )

        assert seen == [None, ["1", None, None], [None, "1"], "1"]
        assert there.plane.world.unimplemented == set()


@newest_client
def test_two_writers_of_different_files_keep_both_and_of_one_file_the_last_wins(
    tmp_path: Path, client: Client
) -> None:
    with a_shelf(tmp_path, client) as there:
        seen = told(
            there,
            """
            one.write.remote("both", "1"), one.write.remote("first", "1")
            two.write.remote("both", "2"), two.write.remote("second", "2")
            two.commit.remote(), one.commit.remote()
            tell([Shelf(who="3").names.remote(), Shelf(who="3").read.remote("both")])
            two.reload.remote()
            tell([two.names.remote(), two.read.remote("both")])
            """,
        )

        assert seen == [[["both", "first", "second"], "1"]] * 2


@newest_client
def test_what_is_removed_is_gone_for_others_after_a_commit(tmp_path: Path, client: Client) -> None:
    with a_shelf(tmp_path, client) as there:
        seen = told(
            there,
            """
            one.write.remote("a", "1"), one.commit.remote()
            tell(two.read.remote("a"))
            one.remove.remote("a"), two.reload.remote()
            tell(two.read.remote("a"))
            one.commit.remote(), two.reload.remote()
            tell(two.read.remote("a"))
            """,
        )

        assert seen == ["1", "1", None]


@every_client
def test_a_reload_with_an_open_file_fails_as_modal_says_it_and_works_once_it_is_closed(
    tmp_path: Path, client: Client
) -> None:
    with a_shelf(tmp_path, client) as there:
        seen = told(
            there,
            """
            one.write.remote("a", "1"), one.commit.remote()
            two.hold.remote("a")
            one.write.remote("a", "2"), one.commit.remote()
            try:
                two.reload.remote()
            except RuntimeError as refused:
                tell(str(refused))
            tell(two.read.remote("a"))
            two.let_go.remote(), two.reload.remote()
            tell(two.read.remote("a"))
            """,
        )

        assert "there are open files preventing the operation" in seen[0]
        assert seen[1:] == ["1", "2"]


@newest_client
def test_what_nobody_commits_is_committed_in_the_background(tmp_path: Path, client: Client) -> None:
    with a_shelf(tmp_path, client, commit_every_s=0.1) as there:
        seen = told(
            there,
            """
            import time
            one.write.remote("a", "1")
            ends = time.monotonic() + 60
            while two.read.remote("a") is None and time.monotonic() < ends:
                two.reload.remote()
            tell(two.read.remote("a"))
            """,
        )

        assert seen == ["1"]


@every_client
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_the_last_commit_is_made_on_sigint_and_never_on_sigkill(
    tmp_path: Path, client: Client, number: signal.Signals
) -> None:
    with a_shelf(tmp_path, client) as there:
        told(there, "one.write.remote('a', '1')")
        ended(there, number)
        seen = told(there, "tell(two.read.remote('a'))")

        is_kept = number == signal.SIGINT
        assert seen == ["1" if is_kept else None]
        lost = ["a on the volume shelf was not committed when the container ended"]
        assert there.plane.world.lost == ([] if is_kept else lost)


@newest_client
@pytest.mark.parametrize("commits", [True, False])
def test_a_prefetch_that_forgets_to_commit_is_found(tmp_path: Path, client: Client, *, commits: bool) -> None:
    with a_shelf(tmp_path, client) as there:
        told(there, f"prefetch.remote(commits={commits})")
        seen = told(there, "tell(one.read.remote('weights'))")
        ended(there, signal.SIGKILL)

        assert seen == ["bytes" if commits else None]
        assert bool(there.plane.world.lost) != commits


FILLED = """
@hook.load
def load(self, weights):
    self.size = weights["w"].path.stat().st_size
@endpoint
def answer(self) -> int:
    return self.size
"""


@newest_client
def test_what_our_prefetch_brought_outlives_a_container_that_is_killed(
    tmp_path: Path, client: Client
) -> None:
    (tmp_path / "w.bin").write_bytes(bytes(300_000))
    options = "weights={'w': Weights.local('w.bin')}, place='volume', volume=Volume('shared'), "
    options += "image=Container.python('3.11').copy('w.bin', 'w.bin')"
    with a_plane(tmp_path, client, commit_every_s=None) as there:
        ended_ = there.deploy(FILLED, options, "from coldstart_sdk import Container, Volume, Weights")
        assert ended_.code == 0, ended_.err
        there.run("-c", "import modal; modal.Function.from_name('model', 'prefetch').remote()")
        ended(there, signal.SIGKILL)

        (volume,) = there.plane.world.volumes.values()
        assert sum(path.stat().st_size for path in volume.folder.rglob("*") if path.is_file()) >= 300_000
        assert there.call("tell(model.answer.remote())") == [300_000]


WRITES = """
@hook.load
def load(self):
    (Path(os.environ["COLDSTART_HOME"]) / "early").write_text("1")
@hook.restored
def restored(self):
    self.found = sorted(path.name for path in Path(os.environ["COLDSTART_HOME"]).iterdir())
@endpoint
def answer(self) -> list[str]:
    return self.found
"""


@newest_client
@pytest.mark.parametrize("commits", [True, False])
def test_what_was_not_committed_before_the_cut_is_missing_after_the_restore(
    tmp_path: Path, client: Client, *, commits: bool
) -> None:
    with a_plane(tmp_path, client, commit_every_s=None) as there:
        there.write(WRITES, "volume=Volume('shared')", "from coldstart_sdk import Volume")
        module = there.bundle / "modal_app.py"
        if not commits:
            module.write_text(module.read_text().replace("Worker(HERE, volume=volume)", "Worker(HERE)"))
        assert there.modal("deploy", str(module)).code == 0
        (found,) = there.call("tell(model.answer.remote())")

        assert ("early" in found) == commits
        lost = " ".join(there.plane.world.lost)
        assert ("not committed when the snapshot was taken" in lost) != commits


@newest_client
def test_a_restored_worker_tells_how_long_its_volume_took(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(WRITES, "volume=Volume('shared')", "from coldstart_sdk import Volume").code == 0
        (told,) = there.call("tell(model.trace.remote())")
        spans = {span["name"]: span for span in told["spans"]}

        assert spans["reload:volume"]["critical"]
        assert spans["sdk"]["end_s"] <= spans["reload:volume"]["start_s"]
        assert spans["reload:volume"]["end_s"] <= spans["restored:restored"]["start_s"]


HOLDS = """
@hook.load
def load(self):
    file = Path(os.environ["COLDSTART_HOME"]) / "early"
    file.write_text("1")
    self.held = file.open()
@endpoint
def answer(self) -> str:
    return self.held.read()
"""


@every_client
def test_a_file_that_load_leaves_open_is_named_and_the_start_goes_on(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(HOLDS, "volume=Volume('shared')", "from coldstart_sdk import Volume").code == 0

        assert there.call("tell(model.answer.remote())") == ["1"]
        notes = " ".join(event["message"] for event in there.events if event.get("is") == "Noted")
        assert "early on the volume is open, since load:load ended" in notes
        assert "the volume was committed, and not reloaded: a file on it is open" in notes
        assert "the volume was not reloaded: a file on it is open" in notes
