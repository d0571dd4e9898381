"""The rehearsed origin: an honest file server, on a link that holds its speed, with faults on cue."""

from __future__ import annotations

import http.client
import threading
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coldstart_sdk.rehearsal.faults import Cut, Refuse
from coldstart_sdk.rehearsal.link import Bucket
from coldstart_sdk.rehearsal.origin import Origin
from tests.syncing import content

DATA = content(3_000_000, seed=5)


def get(url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.netloc)
    try:
        connection.request(
            "GET", parts.path, headers={name.replace("_", "-"): headers[name] for name in headers}
        )
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


@pytest.fixture
def served(tmp_path: Path) -> Path:
    (tmp_path / "dir").mkdir()
    (tmp_path / "dir" / "x y.bin").write_bytes(DATA)
    (tmp_path / "secret").write_text("outside")
    return tmp_path / "dir"


@pytest.mark.parametrize("process", [False, True])
def test_it_serves_files_ranges_and_conditions_here_and_in_a_process(process: bool, served: Path) -> None:  # noqa: FBT001 - given by the parametrization
    with Origin(served, process=process) as origin:
        url = origin.url("x y.bin")
        status, headers, whole = get(url)
        etag = headers["ETag"]

        assert (status, whole) == (200, DATA)
        assert get(url, Range="bytes=10-19")[::2] == (206, DATA[10:20])
        assert get(url, Range="bytes=10-19")[1]["Content-Range"] == f"bytes 10-19/{len(DATA)}"
        assert get(url, Range="bytes=-5")[::2] == (206, DATA[-5:])
        assert get(url, Range=f"bytes={len(DATA)}-")[0] == 416
        assert get(url, If_Match=etag)[0] == 200
        assert get(url, If_Match='"other"')[0] == 412
        assert get(origin.url("absent"))[0] == 404
        assert get(origin.url("../secret"))[0] == 404
        assert [request.range for request in origin.requests][1] == "bytes=10-19"


@pytest.mark.parametrize("process", [False, True])
def test_faults_strike_in_order_and_as_often_as_they_say(process: bool, served: Path) -> None:  # noqa: FBT001 - as above
    with Origin(served, faults=[Refuse(status=503, retry_after="7")], process=process) as origin:
        url = origin.url("x y.bin")

        status, headers, _ = get(url)
        assert (status, headers["Retry-After"]) == (503, "7")
        assert get(url)[0] == 200
        origin.fail(Cut(after_bytes=100, skip=1))
        assert get(url)[0] == 200
        with pytest.raises(http.client.IncompleteRead):
            get(url)
        origin.fail(Refuse(times=None))
        assert get(url)[0] == 503
        origin.mend()
        assert get(url)[0] == 200
        origin.forget()
        assert origin.requests == ()


def test_a_link_is_shared_by_all_connections(served: Path) -> None:
    rate = 12e6
    with Origin(served, rate_bytes_s=rate) as origin:
        threads = [threading.Thread(target=get, args=(origin.url("x y.bin"),)) for _ in range(4)]
        started = time.monotonic()
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        # A busy machine may be slower than the link, never faster.
        assert 4 * len(DATA) / (time.monotonic() - started) <= rate * 1.1


def test_a_bucket_holds_its_rate_to_three_percent_whatever_is_taken() -> None:
    clock = [100.0]
    bucket = Bucket(1e6, clock=lambda: clock[0])

    for count in (1, 5_000, 100_000, 64, 1_000_000, 30_000) * 20:
        # Oversleeping is what a real machine does.
        clock[0] += bucket.take(count) + 0.002

    taken = sum((1, 5_000, 100_000, 64, 1_000_000, 30_000)) * 20
    assert taken / (clock[0] - 100.0) == pytest.approx(1e6, rel=0.03)


def test_an_idle_link_saves_nothing_up() -> None:
    clock = [0.0]
    bucket = Bucket(1e6, clock=lambda: clock[0])

    clock[0] = 3600.0

    assert bucket.take(1_000_000) >= 0.9


def test_its_process_ends_with_it(served: Path) -> None:
    with Origin(served, process=True) as origin:
        url = origin.url("x y.bin")

    with pytest.raises(ConnectionRefusedError):
        get(url)
