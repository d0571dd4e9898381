"""Just before a snapshot, what is still open is named, with the step after which it was there."""

from __future__ import annotations

import random
import socket
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest

from coldstart_sdk.backends.modal import cut
from coldstart_sdk.backends.modal.cut import Watch


def left(watch: Watch, folder: Path, instance: object = None, volume: Path | None = None) -> tuple[str, ...]:
    return watch.left(instance or SimpleNamespace(), volume=volume, project=folder)


def test_a_thread_that_runs_is_named_with_its_step_and_line() -> None:
    watch, done = Watch(), threading.Event()
    thread = threading.Thread(target=done.wait, name="answers", daemon=True)
    thread.start()
    watch.after("load:load")
    try:
        (said,) = left(watch, Path(__file__).parent)
    finally:
        done.set()
        thread.join()

    assert said == "the thread 'answers' is running, since load:load ended"


def test_a_thread_that_is_about_to_end_is_waited_for(tmp_path: Path) -> None:
    watch, done = Watch(), threading.Event()
    thread = threading.Thread(target=done.wait, daemon=True)
    thread.start()
    threading.Timer(0.05, done.set).start()

    assert left(watch, tmp_path) == ()


def test_a_process_that_runs_is_named_with_its_step(tmp_path: Path) -> None:
    watch = Watch()
    with subprocess.Popen(["sleep", "60"]) as child:
        watch.after("load:load")
        try:
            (said,) = left(watch, tmp_path)
        finally:
            child.kill()

    assert said == "the process 'sleep' is running, since load:load ended"
    assert left(watch, tmp_path) == ()


def test_a_file_on_the_volume_that_is_open_is_named(tmp_path: Path) -> None:
    volume = tmp_path / "volume"
    volume.mkdir()
    watch = Watch()
    with (volume / "w.bin").open("w"), (tmp_path / "elsewhere").open("w"):
        watch.after("fetch:w")
        said = left(watch, tmp_path, volume=volume)

    assert said == ("w.bin on the volume is open, since fetch:w ended",)


def test_a_connection_on_this_machine_is_no_matter(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        watch = Watch()
        with socket.create_connection(server.getsockname()):
            assert left(watch, tmp_path) == ()


def test_a_connection_to_elsewhere_is_named_with_its_step(tmp_path: Path) -> None:
    here = _own_address()
    if here is None:
        pytest.skip("this machine has no address but loopback")
    with socket.create_server((here, 0)) as server:
        port = server.getsockname()[1]
        watch = Watch()
        with socket.create_connection((here, port)):
            watch.after("load:load")
            (said,) = left(watch, tmp_path)

    assert said == f"a connection to {here}:{port} is open, since load:load ended"


def _own_address() -> str | None:
    """What others would call this machine by; nothing is sent to learn it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asked:
        try:
            asked.connect(("192.0.2.1", 9))
        except OSError:
            return None
        found = str(asked.getsockname()[0])
    return None if found.startswith("127.") else found


@pytest.mark.parametrize(
    ("address", "is_loopback", "shown"),
    [
        ("0100007F", True, "127.0.0.1"),
        ("0500000A", False, "10.0.0.5"),
        ("00000000000000000000000001000000", True, "an IPv6 address"),
        ("0000000000000000FFFF00000100007F", True, "127.0.0.1"),
        ("B80D0120000000000000000001000000", False, "an IPv6 address"),
    ],
)
def test_addresses_of_proc_are_read_as_they_are_written(address: str, is_loopback: bool, shown: str) -> None:  # noqa: FBT001 - a row of a table
    assert cut.is_loopback(address) is is_loopback
    assert cut.dotted(address) == shown


def test_a_random_generator_of_the_users_own_is_named(tmp_path: Path) -> None:
    model = SimpleNamespace(rng=random.Random(3), size=3)  # noqa: S311 - what a model draws with

    (said,) = left(Watch(), tmp_path, model)

    assert said.startswith("self.rng is a random generator")
