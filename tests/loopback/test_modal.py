"""Modal's own client deploys to our plane, and its own container runs the class, in each promised version."""

from __future__ import annotations

import json
import signal
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from coldstart_sdk.errors import BundleError
from coldstart_sdk.rehearsal.hub import Hub
from tests.modal_clients import Client, every_client, newest_client
from tests.modals import a_plane

PROXY = {"modal-key": "wk-1", "modal-secret": "ws-1"}
SPEAKS = """
@endpoint(default=True)
def speak(self, text: str, times: int = 1) -> str:
    return f"hello {text}" * times
"""
TALKS = (
    SPEAKS
    + """
@endpoint
def count(self, upto: int):
    for number in range(upto):
        yield {"n": number}
@endpoint
async def later(self, text: str) -> str:
    await asyncio.sleep(0)
    return text.upper()
@endpoint
def boom(self) -> int:
    raise KeyError("a path of ours")
@endpoint
def tone(self) -> Audio:
    return Audio.silence("0.1s")
@endpoint
def size(self, ref: File) -> int:
    return len(ref.bytes)
@endpoint
def large(self, count: int) -> str:
    return "x" * count
"""
)


@every_client
def test_a_caller_gets_what_endpoints_return_yield_and_refuse(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(TALKS).code == 0, there.log
        told = there.call("""
            tell(model.speak.remote(text="you", times=2))
            tell(list(model.count.remote_gen(upto=3)))
            tell(model.later.remote(text="async"))
            tell(model.speak.spawn(text="spawned").get())
            tell(len(model.large.remote(count=3_000_000)))
            tell(model.tone.remote()["type"])
            failing(lambda: model.boom.remote())
            failing(lambda: model.speak.remote(txet="you"))
            tell(model.trace.remote()["state"])
        """)

        assert told[:6] == [
            "hello youhello you",
            [{"n": 0}, {"n": 1}, {"n": 2}],
            "ASYNC",
            "hello spawned",
            3_000_000,
            "audio/wav",
        ]
        assert told[6]["type"] == "RuntimeError"
        assert json.loads(told[6]["text"])["error"]["message"] == "boom raised KeyError"
        assert told[7]["type"] == "ValueError"
        assert "did you mean text" in told[7]["text"]
        assert told[8] == "ready"
        assert there.plane.world.unimplemented == set()


@every_client
def test_the_http_app_answers_json_uploads_and_streams_behind_proxy_auth(
    tmp_path: Path, client: Client
) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(TALKS).code == 0
        with httpx.Client(base_url=there.web, timeout=60.0) as http:
            closed = http.post(f"{there.web}/speak", json={"text": "web"})
            answer = http.post(f"{there.web}/speak", json={"text": "web"}, headers=PROXY)
            upload = http.post(f"{there.web}/size", files={"ref": ("a.bin", bytes(300_000))}, headers=PROXY)
            events = http.post(
                f"{there.web}/count", json={"upto": 2}, headers={**PROXY, "accept": "text/event-stream"}
            )
            raw = http.post(f"{there.web}/tone", json={}, headers={**PROXY, "accept": "audio/wav"})
            unknown = http.post(f"{there.web}/spaek", json={}, headers=PROXY)

        assert closed.status_code == 401
        assert answer.json() == {"result": "hello web"}, there.log
        assert upload.json() == {"result": 300_000}
        assert events.headers["content-type"].startswith("text/event-stream")
        assert '{"n":1}' in events.text.replace(" ", "")
        assert raw.content[:4] == b"RIFF"
        assert unknown.status_code == 404


@every_client
def test_the_http_app_streams_as_it_goes_takes_large_bodies_and_answers_many_at_once(
    tmp_path: Path, client: Client
) -> None:
    body = (
        TALKS
        + """
def __init__(self):
    self.all_here = threading.Barrier(3, timeout=60)
@endpoint
def meet(self) -> int:
    return self.all_here.wait()
@endpoint
def wait_for(self, name: str):
    yield "begun"
    while not (HERE / name).exists():
        time.sleep(0.01)
    yield "ended"
"""
    )
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body, "scale=Scale(max=1, concurrency=3)").code == 0
        with httpx.Client(base_url=there.web, timeout=60.0, headers=PROXY) as http:
            with ThreadPoolExecutor(3) as pool:
                met = list(pool.map(lambda _: http.post(f"{there.web}/meet", json={}).json(), range(3)))
            large = http.post(f"{there.web}/large", json={"count": 5_000_000}).json()
            upload = http.post(f"{there.web}/size", files={"ref": ("a.bin", bytes(5_000_000))}).json()
            seen: list[str] = []
            http.headers["accept"] = "text/event-stream"
            with http.stream("POST", f"{there.web}/wait_for", json={"name": "go"}) as events:
                for line in events.iter_lines():
                    seen.append(line)
                    if "begun" in line:
                        (code,) = there.plane.world.folder.glob("tasks/*/root/code")
                        (code / "go").touch()

        assert sorted(each["result"] for each in met) == [0, 1, 2], there.log
        assert len(large["result"]) == 5_000_000
        assert upload == {"result": 5_000_000}
        assert any("ended" in line for line in seen)
        assert there.plane.world.unimplemented == set()


@newest_client
def test_a_public_app_asks_for_no_proxy_auth(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(SPEAKS, 'overrides={"modal": {"public": True}}').code == 0

        assert httpx.post(f"{there.web}/speak", json={"text": "a"}, timeout=60.0).status_code == 200


@every_client
def test_a_second_deployment_replaces_the_first(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(SPEAKS).code == 0
        before = there.call("tell(model.speak.remote(text='you'))")
        assert there.deploy(SPEAKS.replace("hello", "goodbye")).code == 0
        after = there.call("tell(model.speak.remote(text='you'))")

        assert (before, after) == (["hello you"], ["goodbye you"])
        app = there.plane.world.app_named("model")
        assert app
        assert [release.version for release in app.history] == [1, 2]


@every_client
def test_one_worker_answers_as_many_at_once_as_were_declared(tmp_path: Path, client: Client) -> None:
    body = """
    def __init__(self):
        self.all_here = threading.Barrier(3, timeout=60)
    @endpoint
    def meet(self) -> int:
        return self.all_here.wait()
    """
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body, "scale=Scale(max=1, concurrency=3)").code == 0

        told = there.call("""
            calls = [model.meet.spawn() for _ in range(3)]
            tell(sorted(call.get() for call in calls))
        """)

        assert told == [[0, 1, 2]]


# ---- hooks and the cut

HOOKS = """
@hook.load
def load(self, device):
    say(f"load:{device}")
@hook.warmup(canary=True)
def warm(self):
    say("warmup")
@hook.restored
def restored(self, device):
    say(f"restored:{device}:{os.environ['MODAL_TASK_ID']}")
@hook.close
def close(self):
    say("close")
@endpoint
def answer(self) -> str:
    say("answer")
    return os.environ["MODAL_TASK_ID"]
"""
ORDERS = {
    "none": ["load", "restored", "warmup", "answer", "close"],
    "cpu": ["load", "cut", "restored", "warmup", "answer", "close"],
    "gpu": ["load", "warmup", "cut", "restored", "warmup", "answer", "close"],
}


@every_client
@pytest.mark.parametrize("snapshot", ORDERS)
def test_hooks_run_on_their_side_of_the_cut(tmp_path: Path, client: Client, snapshot: str) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(HOOKS, f"gpu='L4', snapshot='{snapshot}'").code == 0
        (task,) = there.call("tell(model.answer.remote())")
        there.stop()

        (said,) = there.said
        order = [word.partition(":")[0] for word in said]
        assert order == [step for step in ORDERS[snapshot] if step != "cut"]
        assert said[order.index("restored")] == f"restored:cpu:{task}"
        assert ("ContainerCheckpoint" in there.rpcs) == (snapshot != "none")
        assert there.plane.containers.past[0].restored == (snapshot != "none")


@newest_client
def test_what_is_loaded_before_the_cut_gets_the_cpu(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        there.write(HOOKS, "gpu='L4', snapshot='cpu'")

        devices = {step.name: step.device for step in there.plans[0].steps}

        assert devices["load:load"] == "cpu"
        assert devices["restored:restored"] == "cuda"


@newest_client
def test_the_story_goes_into_the_steps_on_both_sides_of_the_cut(tmp_path: Path, client: Client) -> None:
    body = SPEAKS + "@hook.load\ndef load(self):\n    import early\n"
    body += "@hook.restored\ndef restored(self):\n    import late\n"
    for name in ("early", "late"):
        (tmp_path / f"{name}.py").write_text("import time\ntime.sleep(0.05)\n")
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body).code == 0
        (trace,) = there.call("tell(model.trace.remote())")

        inside = {span["name"]: span["parent"] for span in trace["spans"] if span.get("parent")}
        before = {event["name"]: event["step"] for event in there.events if event.get("is") == "SpanRecorded"}
        assert inside["import:late"] == "restored:restored"
        assert before["import:early"] == "load:load"


@every_client
def test_a_volume_is_committed_before_the_cut_and_reloaded_after_it(tmp_path: Path, client: Client) -> None:
    body = """
    @hook.load
    def load(self):
        (Path(os.environ["COLDSTART_HOME"]) / "kept").write_text("bytes")
    @endpoint
    def answer(self) -> str:
        return (Path(os.environ["COLDSTART_HOME"]) / "kept").read_text()
    """
    with a_plane(tmp_path, client) as there:
        (tmp_path / "w.bin").write_bytes(b"weights")
        image = "image=Container.python('3.11').copy('w.bin', 'w.bin')"
        options = f"weights={{'w': Weights.local('w.bin')}}, volume=Volume('shared'), {image}"
        assert there.deploy(body, options, "from coldstart_sdk import Container, Volume, Weights").code == 0
        assert there.call("tell(model.answer.remote())") == ["bytes"], there.log
        there.stop()

        cut = there.rpcs.index("ContainerCheckpoint")
        assert "VolumeCommit" in there.rpcs[:cut]
        assert "VolumeReload" in there.rpcs[cut:]
        assert "VolumeCommit" in there.rpcs[cut:], "the last commit, at the end"
        (volume,) = there.plane.world.volumes.values()
        assert (volume.folder / "kept").read_text() == "bytes"


@every_client
@pytest.mark.parametrize("snapshot", ["none", "cpu"])
def test_a_worker_finds_on_the_volume_what_prefetch_put_there(
    tmp_path: Path, client: Client, snapshot: str
) -> None:
    pytest.importorskip("huggingface_hub")
    body = """
    @hook.load
    def load(self, weights):
        self.size = (weights["w"].path / "model.bin").stat().st_size
    @endpoint
    def answer(self) -> int:
        return self.size
    """
    repository = tmp_path / "hub/org/model"
    repository.mkdir(parents=True)
    (repository / "model.bin").write_bytes(bytes(3_000_000))
    options = f"weights={{'w': Weights.hf('org/model')}}, snapshot='{snapshot}'"
    head = "from coldstart_sdk import Weights"
    with Hub(tmp_path / "hub") as hub, a_plane(tmp_path, client, env={"HF_ENDPOINT": hub.endpoint}) as there:
        there.write(body, options, head)
        filled = there.modal("run", str(there.bundle / "modal_app.py") + "::prefetch")
        assert filled.code == 0, filled.err
        hub.forget()
        assert there.modal("deploy", str(there.bundle / "modal_app.py")).code == 0

        assert there.call("tell(model.answer.remote())") == [3_000_000], there.log
        assert "fetch:w" in filled.out
        asked = {request.path for request in (*hub.requests, *hub.cdn.requests)}
        assert asked <= {"api/models/org/model/revision/main"}, (
            "no lock says what main is; no byte is fetched"
        )
        tiers = [event["tier"] for event in there.events if event.get("is") == "TierTried" and event["hit"]]
        assert tiers == ["volume"]
        cut = there.rpcs.index("ContainerCheckpoint") if snapshot == "cpu" else len(there.rpcs)
        assert "VolumeCommit" in there.rpcs[:cut]


@newest_client
def test_weights_in_a_folder_go_along_as_the_refusal_says(tmp_path: Path, client: Client) -> None:
    body = """
    @hook.load
    def load(self, weights):
        self.found = sorted(path.name for path in weights["w"].path.rglob("*.bin"))
    @endpoint
    def answer(self) -> list[str]:
        return self.found
    """
    head = "from coldstart_sdk import Container, Weights"
    options = "weights={'w': Weights.local('models/voice')}"
    for name in ("models/voice/a.bin", "models/voice/deep/b.bin"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(bytes(10))
    with a_plane(tmp_path, client) as there:
        with pytest.raises(BundleError) as told:
            there.write(body, options, head)
        copy = told.value.problems[0].fix.partition("with ")[2].partition(", or ")[0]
        deployed = there.deploy(body, f"{options}, image=Container.python('3.11'){copy}", head)
        assert deployed.code == 0, deployed.err

        assert there.call("tell(model.answer.remote())") == [["a.bin", "b.bin"]]


@newest_client
def test_what_was_compiled_outlives_its_worker(tmp_path: Path, client: Client) -> None:
    body = """
    @hook.load
    def load(self):
        kernel = Path(os.environ["TRITON_CACHE_DIR"]) / "kernel"
        say("found" if kernel.exists() else "compiled")
        kernel.parent.mkdir(parents=True, exist_ok=True)
        kernel.touch()
    @endpoint
    def answer(self) -> str:
        return "yes"
    """
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body, "gpu='L4', snapshot='cpu'").code == 0
        for _ in range(2):
            assert there.call("tell(model.answer.remote())") == ["yes"]
            there.stop()

        assert there.said == [["compiled"], ["found"]]
        assert [volume.name for volume in there.plane.world.volumes.values()] == ["model-compiled"]
        assert "VolumeCommit" in there.rpcs[: there.rpcs.index("ContainerCheckpoint")]


@every_client
def test_an_interrupted_container_closes_and_commits(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        assert there.deploy(HOOKS, "volume=Volume('shared')", "from coldstart_sdk import Volume").code == 0
        there.call("tell(model.answer.remote())")
        (container,) = there.plane.containers.live
        commits = len(container.commits)

        there.plane.do(there.plane.containers.interrupt(container))

        assert there.said[0][-1] == "close"
        assert len(container.commits) > commits
        assert container.code != -signal.SIGKILL


@every_client
def test_a_start_that_fails_tells_its_caller_where_and_how_to_mend_it(tmp_path: Path, client: Client) -> None:
    body = SPEAKS + "@hook.load\ndef load(self):\n    raise OSError('torn file')\n"
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body).code == 0
        (told,) = there.call("failing(lambda: model.speak.remote(text='you'))")

        assert told["type"] == "RuntimeError"
        message, at, fix = told["text"].splitlines()
        assert message == "load:load raised OSError: torn file"
        assert at.endswith("in load")
        assert fix.startswith("fix: ")


@every_client
def test_a_secret_that_is_missing_stops_the_deployment_by_name(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client) as there:
        ended = there.deploy(SPEAKS, "secrets=['MY_TOKEN']")

        assert ended.code != 0
        assert "MY_TOKEN" in ended.out + ended.err


@newest_client
def test_no_secret_is_in_a_log_a_trace_or_what_a_caller_is_told(tmp_path: Path, client: Client) -> None:
    body = (
        SPEAKS
        + """
@hook.load
def load(self, log):
    log.info("with %s", os.environ["MY_TOKEN"])
    if os.environ["MODE_OF_LOAD"] == "fails":
        raise OSError("no answer from https://u:p@host/w?token=" + os.environ["MY_TOKEN"])
@hook.background
def later(self):
    raise OSError("lost " + os.environ["MY_TOKEN"])
@endpoint
def boom(self) -> int:
    raise KeyError(os.environ["MY_TOKEN"])
"""
    )
    secret = "swordfish-0123456789"
    for mode in ("fails", "works"):
        folder = tmp_path / mode
        folder.mkdir()
        with a_plane(
            folder, client, secrets={"MY_TOKEN": {"MY_TOKEN": secret}}, env={"MODE_OF_LOAD": mode}
        ) as there:
            assert there.deploy(body, "secrets=['MY_TOKEN']").code == 0
            told = there.call("""
                failing(lambda: model.boom.remote())
                failing(lambda: model.trace.remote())
            """)

            assert told[0]["type"] == "RuntimeError"
            assert "with ***" in there.log
            assert secret not in json.dumps(told) + there.log


@every_client
def test_a_secret_is_read_anew_after_a_restore(tmp_path: Path, client: Client) -> None:
    body = """
    @hook.load
    def load(self):
        self.before = os.environ["MY_TOKEN"]
    @hook.restored
    def restored(self):
        self.after = os.environ["MY_TOKEN"]
    @endpoint
    def both(self) -> list[str]:
        return [self.before, self.after]
    """
    secrets = {"MY_TOKEN": {"MY_TOKEN": "first"}}
    with a_plane(tmp_path, client, secrets=secrets) as there:
        there.plane.containers.env_after_restore["my_token"] = "second"
        assert there.deploy(body, "secrets=['MY_TOKEN']").code == 0

        assert there.call("tell(model.both.remote())") == [["first", "second"]]


@every_client
@pytest.mark.parametrize(("before", "after"), [("first", "second"), ("first", "first")])
def test_a_restored_worker_asks_its_http_callers_for_the_token_of_now(
    tmp_path: Path, client: Client, before: str, after: str
) -> None:
    options = "secrets=['COLDSTART_TOKEN'], overrides={'modal': {'public': True}}"
    secrets = {"COLDSTART_TOKEN": {"COLDSTART_TOKEN": f"{before}-of-our-tokens"}}
    with a_plane(tmp_path, client, secrets=secrets) as there:
        there.plane.containers.env_after_restore["coldstart_token"] = f"{after}-of-our-tokens"
        assert there.deploy(SPEAKS, options).code == 0
        codes = {
            said: httpx.post(
                f"{there.web}/speak",
                json={"text": "a"},
                headers={"authorization": f"Bearer {said}-of-our-tokens"} if said else {},
                timeout=60.0,
            ).status_code
            for said in ("", "first", "second")
        }

        assert codes == {"": 401, "first": 401, "second": 401} | {after: 200}
        assert there.plane.containers.live[0].restored
        assert "-of-our-tokens" not in there.log


@every_client
def test_a_canary_that_changed_puts_the_snapshot_away_and_loads_afresh(
    tmp_path: Path, client: Client
) -> None:
    body = """
    @hook.load
    def load(self):
        say("load")
        self.value = [1.0, 2.0]
    @hook.warmup(canary=True)
    def warm(self):
        return self.value
    @hook.restored
    def restored(self):
        if not BROKEN.exists():
            BROKEN.touch()
            self.value = [1.0, 2.5]
    @endpoint
    def answer(self) -> list[float]:
        return self.value
    """
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body, "gpu='L4', snapshot='gpu'", "BROKEN = HERE / 'broken'").code == 0

        assert there.call("tell(model.answer.remote())") == [[1.0, 2.0]]
        assert there.said == [["load", "load"]]
        notes = [event["message"] for event in there.events if event.get("is") == "Noted"]
        assert any("it[1] was 2, and is 2.5" in note and "loaded afresh" in note for note in notes)


@every_client
def test_one_image_is_restored_several_times_and_no_two_draw_the_same(tmp_path: Path, client: Client) -> None:
    with a_plane(tmp_path, client, env={"COLDSTART_REHEARSE_RESTORES": "3"}) as there:
        assert there.deploy(HOOKS).code == 0
        there.call("tell(model.answer.remote())")

        restores = [event for event in there.events if "restore" in event]
        assert [restore["ok"] for restore in restores] == [True] * 3
        assert len({restore["draw"] for restore in restores}) == 3


@newest_client
def test_a_hook_that_stands_on_a_thread_breaks_in_the_rehearsed_restore(
    tmp_path: Path, client: Client
) -> None:
    body = (
        SPEAKS
        + """
    @hook.load
    def load(self):
        self.asked, self.answered = threading.Event(), threading.Event()
        def answer():
            self.asked.wait()
            self.answered.set()
        threading.Thread(target=answer, daemon=True, name="answers").start()
    @hook.restored(timeout=2)
    def restored(self):
        self.asked.set()
        self.answered.wait()
    """.replace("\n    ", "\n")
    )
    with a_plane(tmp_path, client, env={"COLDSTART_REHEARSE_RESTORES": "1"}) as there:
        assert there.deploy(body).code == 0
        there.call("tell(model.speak.remote(text='you'))")

        (restore,) = [event for event in there.events if "restore" in event]
        assert restore["ok"] is False
        assert restore["reason"] == "restored:restored did not end within 2 s"
        notes = [event["message"] for event in there.events if event.get("is") == "Noted"]
        assert any("the thread 'answers' is running" in note and "in answer" in note for note in notes)


@newest_client
@pytest.mark.parametrize("snapshot", ["none", "cpu"])
def test_a_bundle_of_another_version_is_refused(tmp_path: Path, client: Client, snapshot: str) -> None:
    with a_plane(tmp_path, client) as there:
        there.write(SPEAKS, f"snapshot='{snapshot}'", sdk="0.0.1")
        assert there.modal("deploy", str(there.bundle / "modal_app.py")).code == 0
        (told,) = there.call("failing(lambda: model.speak.remote(text='you'))")

        assert told["text"].startswith("this bundle was made by coldstart 0.0.1, and here is ")
        assert "fix: Build it again" in told["text"]


@newest_client
def test_a_container_that_keeps_dying_is_given_up(tmp_path: Path, client: Client) -> None:
    body = SPEAKS + "@hook.load\ndef load(self):\n    os.kill(os.getpid(), 9)\n"
    with a_plane(tmp_path, client) as there:
        assert there.deploy(body).code == 0
        (told,) = there.call("failing(lambda: model.speak.remote(text='you'))")

        assert "value" not in told
        assert len(there.plane.containers.past) == 2
