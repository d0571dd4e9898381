"""What RunPod's own worker does to a handler that does not know of it: none of it happens to ours."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from coldstart_sdk.rehearsal.runpod.jobs import Jobs
from tests.runpods import TOO_LONG_S, VERSIONS, Platform

SPEAK = """
@warm_model(name="voice")
class Voice:
    @hook.load
    def load(self):
        with (HERE / "loads").open("a") as loads: loads.write("x")
    @endpoint(default=True)
    def speak(self) -> str: return "spoken"
    @endpoint
    def probe(self) -> str:
        import cpuinfo
        return cpuinfo.__file__
    @endpoint
    def shout(self) -> str:
        print("swordfish")
        raise ValueError("swordfish")
"""
CHECKED = "fitness check(s)"
"""What each version logs of the checks that it makes by itself."""


@pytest.fixture(params=VERSIONS)
def platform(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Platform]:
    with ExitStack() as stack:
        jobs = stack.enter_context(Jobs(hold_s=0.5))
        yield Platform(tmp_path / "project", request.param, jobs, stack)


def answered(platform: Platform, endpoint: str = "speak") -> object:
    return platform.jobs.result(platform.jobs.submit({"endpoint": endpoint})).output


def site(platform: Platform, **modules: str) -> dict[str, str]:
    """Modules that the worker finds before any installed one."""
    folder = platform.folder.parent / "site"
    folder.mkdir()
    for name, source in modules.items():
        (folder / f"{name}.py").write_text(source)
    found = [str(folder), *filter(None, [platform.runpod.env.get("PYTHONPATH")])]
    return {"PYTHONPATH": os.pathsep.join(found)}


def lives(group: int) -> bool:
    """Whether any process of that group is left."""
    try:
        os.killpg(group, signal.SIGCONT)
    except ProcessLookupError:
        return False
    return True


def appears(holds: Callable[[], bool]) -> bool:
    tick = threading.Event()
    return any(holds() or tick.wait(0.05) for _ in range(int(TOO_LONG_S / 0.05)))


def test_the_cpu_is_not_probed_and_whoever_wants_the_probe_still_finds_it(platform: Platform) -> None:
    probe = "from pathlib import Path\nPath(__file__).with_name('probed').touch()\n"
    also = site(platform, cpuinfo=probe)
    probed = Path(also["PYTHONPATH"].partition(os.pathsep)[0]) / "probed"
    platform.worker(SPEAK, also=also)

    assert answered(platform) == "spoken"
    assert not probed.exists()
    assert answered(platform, "probe") == str(probed.with_name("cpuinfo.py"))
    assert probed.exists()


def test_the_vendors_own_checks_of_the_machine_are_off_unless_they_are_asked_for(platform: Platform) -> None:
    # The double's environment keeps 2.0's checks off; RunPod's own does not.
    worker = platform.worker(SPEAK, also={"RUNPOD_TEST": ""})
    assert answered(platform) == "spoken"
    assert CHECKED not in worker.text
    worker.kill()
    wanted = ("RUNPOD_SKIP_AUTO_SYSTEM_CHECKS", "RUNPOD_SKIP_FITNESS_CHECKS", "RUNPOD_SKIP_GPU_CHECK")
    generous = {"RUNPOD_MIN_MEMORY_GB": "0", "RUNPOD_MIN_DISK_PERCENT": "0", "RUNPOD_TEST": ""}

    asked = platform.worker(SPEAK, also={**dict.fromkeys(wanted, "false"), **generous})

    assert asked.wait_for(lambda: CHECKED in asked.text, TOO_LONG_S), asked.text


def test_what_is_printed_is_not_sent_to_the_caller(platform: Platform) -> None:
    worker = platform.worker(SPEAK)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "shout"}))

    assert "swordfish" in worker.text
    assert set(json.loads(job.error)) == {"type", "message", "id"}
    assert "swordfish" not in job.error


def test_a_heartbeat_that_imports_the_handler_again_loads_no_model(platform: Platform) -> None:
    spawning = "import multiprocessing\nmultiprocessing.set_start_method('spawn')\n"
    platform.worker(SPEAK, also=site(platform, sitecustomize=spawning))

    assert answered(platform) == "spoken"
    assert platform.jobs.wait(lambda: len(platform.jobs.seen_on("ping")) > 1, TOO_LONG_S)
    assert platform.file("loads").read_text() == "x"


def test_no_heartbeat_outlives_its_worker(platform: Platform) -> None:
    worker = platform.worker(SPEAK)
    assert answered(platform) == "spoken"
    assert platform.jobs.wait(lambda: platform.jobs.seen_on("ping"), TOO_LONG_S)

    worker.terminate()

    assert worker.wait(TOO_LONG_S) == 0
    assert appears(lambda: not lives(worker.pid))


def test_a_result_that_the_platform_refuses_three_times_costs_that_job_alone(platform: Platform) -> None:
    platform.worker(SPEAK)
    assert answered(platform) == "spoken"
    platform.jobs.refuse_results(500, 500, 500)
    lost = platform.jobs.submit({})

    assert platform.jobs.wait(
        lambda: len(platform.jobs.seen_on(f"job-done/pod-abc/{lost.id}")) == 3, TOO_LONG_S
    )
    assert answered(platform) == "spoken"
    assert lost.status == "IN_PROGRESS"  # until its time limit: nobody can tell its caller


def test_an_end_that_has_to_wait_for_a_held_poll_is_in_order_all_the_same(tmp_path: Path) -> None:
    """SIGTERM does not cancel it, and how long RunPod holds one is not known."""
    version = next(param.values[0] for param in VERSIONS)  # type: ignore[attr-defined] # pytest's own type is not public
    with ExitStack() as stack:
        jobs = stack.enter_context(Jobs(hold_s=3.0))
        platform = Platform(tmp_path / "project", version, jobs, stack)
        closing = SPEAK.replace(
            "@hook.load", "@hook.close\n    def close(self): (HERE / 'closed').touch()\n    @hook.load"
        )
        worker = platform.worker(closing)
        assert answered(platform) == "spoken"

        worker.terminate()

        assert worker.wait(TOO_LONG_S) == 0
        assert platform.file("closed").exists()


LOST = """
class Steps:
    def __iter__(self):
        return iter([{"n": 0}])

@warm_model(name="voice")
class Voice:
    @endpoint
    def bad(self):
        yield {"n": 0}
        yield object()
    @endpoint
    def plain(self):
        return (number for number in range(2))
    @endpoint
    def made(self):
        return Steps()
"""


def test_a_chunk_that_is_no_json_ends_its_stream_with_an_error_and_not_in_silence(platform: Platform) -> None:
    platform.worker(LOST)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": "bad"}))

    assert (job.status, job.chunks) == ("FAILED", [{"n": 0}])
    assert "cannot be sent" in json.loads(job.error)["message"]


@pytest.mark.parametrize("endpoint", ["plain", "made"])
def test_what_only_looks_like_a_stream_is_told_to_its_caller(platform: Platform, endpoint: str) -> None:
    platform.worker(LOST)

    job = platform.jobs.result(platform.jobs.submit({"endpoint": endpoint}))

    assert (job.status, json.loads(job.error)["type"]) == ("FAILED", "failed")
