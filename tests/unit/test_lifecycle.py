"""One worker's life: READY, failure, degradation, the background, and the way down."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from coldstart_sdk.errors import LifecycleError
from coldstart_sdk.events import Outcome, State
from coldstart_sdk.plan import Stage
from coldstart_sdk.switches import Switches
from tests.lives import Life

HANG_S = 30
"""Far more than anything here takes: a test that reaches it has found a hang."""


def test_ready_comes_after_every_warmup_and_before_the_background(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        order = []
        @hook.load
        def load(self): self.order.append("load")
        @hook.warmup
        def warm(self): self.order.append("warm")
        @hook.background
        def later(self): self.order.append("later")
        """,
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.life.status.state is State.READY
    assert live.model.order == ["load", "warm"]  # type: ignore[attr-defined] # the test's own class
    live.life.run(Stage.BACKGROUND)
    assert live.model.order == ["load", "warm", "later"]  # type: ignore[attr-defined] # the test's own class


def test_a_required_hook_that_raises_fails_the_worker_at_its_line(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        @hook.load
        def load(self):
            raise RuntimeError("the checkpoint is torn")
        """,
    )

    with pytest.raises(LifecycleError) as caught:
        live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert caught.value.message == "load:load raised RuntimeError: the checkpoint is torn"
    assert caught.value.where is not None
    assert caught.value.where.endswith(":12, in load")
    assert live.life.status.state is State.FAILED
    assert live.states == [State.FAILED]


def test_an_optional_warmup_that_fails_leaves_the_worker_ready_and_degraded(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        @hook.warmup(required=False)
        def warm(self): raise ValueError("no such kernel")
        """,
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.life.status.state is State.READY
    assert live.life.status.degraded == ("warmup:warm",)


def test_a_hook_that_hangs_is_named_with_the_line_it_hangs_on(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        @hook.load(timeout=0.2)
        def load(self):
            threading.Event().wait()
        """,
    )

    with pytest.raises(LifecycleError, match=r"load:load did not end within 0.2 s") as caught:
        live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert caught.value.where is not None
    assert caught.value.where.endswith(":12, in load")


def test_a_start_that_runs_beside_its_caller_can_be_waited_for(tmp_path: Path) -> None:
    live = Life(tmp_path, "@hook.load\ndef load(self): time.sleep(0.05)")

    live.life.start()

    assert live.life.wait(HANG_S).state is State.READY


def test_draining_waits_for_requests_then_closes_in_reverse_order(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        order = []
        @hook.close
        def first(self): self.order.append("first")
        @hook.close
        def second(self): self.order.append("second")
        """,
    )
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
    live.life.request_begins()
    draining = threading.Thread(target=live.life.drain, args=(HANG_S,))
    draining.start()

    draining.join(0.1)
    assert draining.is_alive()
    live.life.request_ends()
    draining.join(HANG_S)

    assert live.model.order == ["second", "first"]  # type: ignore[attr-defined] # the test's own class
    assert live.states == [State.READY, State.DRAINING, State.STOPPED]


def test_a_request_that_never_ends_does_not_hold_the_drain_beyond_its_deadline(tmp_path: Path) -> None:
    live = Life(tmp_path, "closed = False\n@hook.close\ndef bye(self): type(self).closed = True")
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
    live.life.request_begins()

    live.life.drain(0.2)

    assert live.life.status.state is State.STOPPED
    assert live.model.closed  # type: ignore[attr-defined] # the test's own class


def test_code_whose_caller_was_told_that_it_is_late_does_not_hold_the_drain(tmp_path: Path) -> None:
    live = Life(tmp_path, "")
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
    live.life.request_begins()
    live.life.request_is_answered()
    draining = threading.Thread(target=live.life.drain, args=(HANG_S * 10,), daemon=True)

    draining.start()
    draining.join(HANG_S)

    assert not draining.is_alive()
    assert live.life.requests == 0


def test_draining_twice_closes_once(tmp_path: Path) -> None:
    live = Life(tmp_path, "closed = 0\n@hook.close\ndef bye(self): type(self).closed += 1")
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    live.life.drain(HANG_S)
    live.life.drain(HANG_S)

    assert live.model.closed == 1  # type: ignore[attr-defined] # the test's own class


def test_draining_a_worker_that_still_starts_ends_its_start(tmp_path: Path) -> None:
    live = Life(tmp_path, "@hook.load\ndef load(self): threading.Event().wait()")
    live.life.start()

    live.life.drain(2)

    assert live.life.status.state is State.STOPPED
    assert live.states == [State.DRAINING, State.STOPPED]


def test_a_failed_worker_stays_failed_but_closes_what_it_opened(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        closed = False
        @hook.load
        def load(self): raise ValueError
        @hook.close
        def bye(self): type(self).closed = True
        """,
    )
    with pytest.raises(LifecycleError):
        live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    live.life.drain(HANG_S)

    assert live.life.status.state is State.FAILED
    assert live.model.closed  # type: ignore[attr-defined] # the test's own class


def test_a_background_hook_waits_for_a_moment_without_requests(tmp_path: Path) -> None:
    live = Life(tmp_path, "ran = threading.Event()\n@hook.background\ndef later(self): self.ran.set()")
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)
    live.life.request_begins()
    background = threading.Thread(target=live.life.run, args=(Stage.BACKGROUND,))
    background.start()

    assert not live.model.ran.wait(0.1)  # type: ignore[attr-defined] # the test's own class
    live.life.request_ends()
    background.join(HANG_S)
    assert live.model.ran.is_set()  # type: ignore[attr-defined] # the test's own class


def test_a_background_failure_degrades_a_worker_that_goes_on_serving(tmp_path: Path) -> None:
    live = Life(tmp_path, "@hook.background\ndef later(self): raise OSError('disk full')")
    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    live.life.run(Stage.BACKGROUND)

    assert live.life.status.state is State.READY
    assert live.life.status.degraded == ("background:later",)


def test_a_skipped_step_is_told_and_what_waits_for_it_still_waits_for_what_it_waited_for(
    tmp_path: Path,
) -> None:
    body = """
    order = []
    def __init__(self): time.sleep(0.1); self.order.append("made")
    @hook.load
    def load(self): self.order.append("load")
    @hook.warmup
    def warm(self): self.order.append("warm")
    """
    live = Life(tmp_path, body, switches=Switches(skip=("load",)))

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.outcomes["load:load"] is Outcome.SKIPPED
    assert live.model.order == ["made", "warm"]  # type: ignore[attr-defined] # the test's own class


def test_a_deferred_step_runs_after_ready(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        "order = []\n@hook.warmup\ndef warm(self): self.order.append('warm')",
        switches=Switches(defer=("warmup:warm",)),
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.model.order == []  # type: ignore[attr-defined] # the test's own class
    live.life.run(Stage.BACKGROUND)
    assert live.model.order == ["warm"]  # type: ignore[attr-defined] # the test's own class


def test_async_hooks_share_the_loop_that_endpoints_run_on(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        loops = []
        @hook.load
        async def load(self):
            import asyncio
            self.loops.append(asyncio.get_running_loop())
        """,
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.model.loops == [live.life.lanes.loop]  # type: ignore[attr-defined] # the test's own class


def test_load_and_warmup_share_the_model_thread(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        threads = set()
        @hook.load
        def load(self): self.threads.add(threading.get_ident())
        @hook.warmup
        def warm(self): self.threads.add(threading.get_ident())
        """,
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert len(live.model.threads) == 1  # type: ignore[attr-defined] # the test's own class
    assert threading.get_ident() not in live.model.threads  # type: ignore[attr-defined] # the test's own class


def test_a_hook_receives_what_it_names_and_nothing_else(tmp_path: Path) -> None:
    live = Life(
        tmp_path,
        """
        @hook.load
        def load(self, log, device, spec, weights):
            self.given = (log.name, device, spec.name, dict(weights))
        """,
    )

    live.life.run(Stage.BEFORE_SNAPSHOT, Stage.AFTER_SNAPSHOT)

    assert live.model.given == ("coldstart.model", "cpu", "model", {})  # type: ignore[attr-defined] # the test's own class
