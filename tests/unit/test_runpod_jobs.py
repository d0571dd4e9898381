"""RunPod's queue on loopback: what becomes of the jobs of a worker that dies."""

from __future__ import annotations

import threading

from coldstart_sdk.rehearsal.runpod.jobs import Jobs


def test_a_job_of_a_dead_worker_waits_again_for_another() -> None:
    jobs = Jobs(hold_s=0.0)
    job = jobs.submit("hello")
    with jobs:
        jobs.take("w1", 1)

        jobs.lose("w1")

        assert (job.status, job.worker) == ("IN_QUEUE", None)
        assert jobs.take("w2", 1) == [job]


def test_a_poll_that_outlives_its_worker_is_given_nothing() -> None:
    with Jobs(hold_s=30.0) as jobs:
        taken: list[object] = []
        poll = threading.Thread(target=lambda: taken.extend(jobs.take("w1", 1)))
        poll.start()

        jobs.lose("w1")
        job = jobs.submit("hello")
        poll.join()

        assert (taken, job.status) == ([], "IN_QUEUE")
