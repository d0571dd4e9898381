"""How many streams read: few where the processor is short, all where the link is."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from coldstart_sdk import machine
from coldstart_sdk.events import ignore
from coldstart_sdk.rehearsal.origin import Origin
from coldstart_sdk.storage import streams
from coldstart_sdk.storage.home import Home
from coldstart_sdk.storage.http import Address
from coldstart_sdk.storage.remote import Limits, RemoteFile
from coldstart_sdk.storage.report import Report

FILES = 12


@pytest.mark.parametrize(
    ("cores", "asked", "plenty_bytes_s", "most"),
    [
        pytest.param(1, 8, 400e6, 8, id="a-slow-link"),
        pytest.param(1, 8, 0.0, 4, id="few-cores-and-a-fast-link"),
        pytest.param(3, 8, 0.0, 6, id="three-cores"),
        pytest.param(16, 8, 0.0, 8, id="many-cores"),
        pytest.param(16, 2, 400e6, 2, id="as-few-as-were-asked-for"),
        pytest.param(1, 64, 400e6, FILES, id="no-more-than-there-are-files"),
    ],
)
def test_the_last_streams_come_where_the_link_is_what_all_wait_for(  # noqa: PLR0913, PLR0917 - a table
    cores: int,
    asked: int,
    plenty_bytes_s: float,
    most: int,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "cpu_quota", lambda: cores)
    monkeypatch.setattr(streams, "_PLENTY_BYTES_S", plenty_bytes_s)
    served = tmp_path / "served"
    served.mkdir()
    for index in range(FILES):
        (served / f"{index}.bin").write_bytes(bytes([index]) * 1000)

    with Origin(served, latency_s=0.6) as origin:
        reading = threading.Thread(target=_read, args=(origin, tmp_path, asked))
        reading.start()
        seen = 0
        while reading.is_alive():
            seen = max(seen, sum(each.name.startswith("coldstart-fetch-") for each in threading.enumerate()))
            time.sleep(0.01)

    assert seen == most


def _read(origin: Origin, folder: Path, asked: int) -> None:
    files = [
        RemoteFile(
            path=f"{index}.bin",
            size_bytes=1000,
            identity=f"{index}",
            locate=lambda index=index: Address(url=origin.url(f"{index}.bin")),  # type: ignore[misc] # a default
        )
        for index in range(FILES)
    ]
    streams.read(
        files,
        home=Home.open(folder / "home"),
        limits=Limits(streams=asked),
        report=Report("fetch:w", ignore),
        cancelled=threading.Event(),
    )
