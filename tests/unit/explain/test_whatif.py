"""Other circumstances, played on the same graph."""

from __future__ import annotations

import pytest

from coldstart_sdk.errors import UsageError
from coldstart_sdk.explain.evidence import Evidence
from coldstart_sdk.explain.whatif import Supposed, bytes_per_s, suppose
from coldstart_sdk.spec import Snapshot
from tests.unit.explain.slow import CLEAN, a_start

EVIDENCE = Evidence(trace=a_start(*CLEAN))
"""Ready after 4.4 s: a fetch of 1.35 GB to 3.1 s, imports to 2.0 s, a load of 0.9 s, a warm-up of 0.4 s."""


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10Gbit", 1.25e9), ("900Mbit/s", 112.5e6), ("1.2GB/s", 1.2e9), ("80MB", 80e6), ("1 gbps", 125e6)],
)
def test_a_speed_is_read_as_people_write_it(text: str, rate: float) -> None:
    assert bytes_per_s(text) == pytest.approx(rate)


@pytest.mark.parametrize("text", ["", "fast", "-1Gbit", "0MB", "10"])
def test_what_is_no_speed_is_refused(text: str) -> None:
    with pytest.raises(UsageError):
        bytes_per_s(text)


def test_a_faster_link_shortens_the_fetch_until_the_imports_are_in_the_way() -> None:
    faster = suppose(EVIDENCE, Supposed(net_bytes_per_s=1.35e9 / 2))
    far_faster = suppose(EVIDENCE, Supposed(net_bytes_per_s=1e12))

    assert faster.ready_s == pytest.approx(3.4, abs=0.02)
    assert far_faster.ready_s == pytest.approx(2.01 + 0.9 + 0.4, abs=0.02)


def test_a_slower_link_makes_it_later() -> None:
    assert suppose(EVIDENCE, Supposed(net_bytes_per_s=1.35e8)).ready_s == pytest.approx(11.4, abs=0.02)


def test_tensors_that_go_to_the_device_as_they_come_leave_the_load() -> None:
    assert suppose(EVIDENCE, Supposed(gpu_fetch=True)).saves_s == pytest.approx(0.5)


def test_a_step_is_left_out_by_name_or_by_kind() -> None:
    assert suppose(EVIDENCE, Supposed(without=("warmup:warm",))).saves_s == pytest.approx(0.4)
    assert suppose(EVIDENCE, Supposed(without=("warmup",))).saves_s == pytest.approx(0.4)


def test_a_step_that_is_not_there_is_named() -> None:
    with pytest.raises(UsageError, match="no step is called 'warmp'"):
        suppose(EVIDENCE, Supposed(without=("warmp",)))


def test_a_cpu_snapshot_leaves_what_comes_after_the_load() -> None:
    otherwise = suppose(EVIDENCE, Supposed(snapshot=Snapshot.CPU))

    assert otherwise.ready_s == pytest.approx(0.4, abs=0.01)
    assert "restore comes on top" in otherwise.suppositions[0]


def test_a_gpu_snapshot_leaves_nothing_but_the_restore() -> None:
    assert suppose(EVIDENCE, Supposed(snapshot=Snapshot.GPU)).ready_s == pytest.approx(0.0, abs=0.01)
