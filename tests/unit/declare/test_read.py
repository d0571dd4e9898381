"""A sound declaration is read into one `Spec`, the same on every machine."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Protocol

import pytest

from coldstart_sdk import entry, hook
from coldstart_sdk.declare.mark import warm_model
from coldstart_sdk.declare.read import problems, read_file
from coldstart_sdk.errors import DeclarationError
from coldstart_sdk.spec import CallStyle, Kind, Medium, Origin, Place, Snapshot, Spec

PATH = os.pathsep.join(place for place in sys.path if place)
FULL = """
from __future__ import annotations

import enum
from collections.abc import AsyncIterator, Iterator
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from coldstart_sdk import Audio, Container, Image, Scale, Volume, Weights, endpoint, hook, warm_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"
VOCOS = Weights.hf("charactr/vocos-mel-24khz", COMMIT, place="image")


class Voice(str, enum.Enum):
    LOW = "low"
    HIGH = "high"


class Style(BaseModel):
    speed: float = 1.0


@warm_model(
    name="f5-tts",
    gpu=["L4", "4090", "H100:2"],
    image=(
        Container.python("3.11")
        .apt("ffmpeg", "libsndfile1")
        .pip("f5-tts==1.1.22")
        .run("make kernels", gpu=True)
        .env(TOKENIZERS_PARALLELISM="false")
        .copy("voices", "/app/voices")
    ),
    weights={
        "f5": Weights.hf("SWivid/F5-TTS", include=["F5TTS_v1_Base/*"], links={"voc/v.bin": "vocos/v.bin"}),
        "vocos": VOCOS,
        "lora": Weights.url("https://example.com/l.safetensors?download=true", sha256="sha256:" + "AB" * 32),
        "tree": Weights.s3("s3://my-bucket/hub/x", exclude="*.bin"),
        "own": Weights.local(".", allow_pickle=["a.pt@sha256:" + "0" * 64]),
    },
    store="s3://my-bucket/models",
    place="volume",
    volume=Volume("models", size="100GB", region="EU-RO-1"),
    read_url="https://cdn.example.com/models",
    results="s3://my-bucket/results",
    snapshot="cpu",
    scale=Scale(min=1, max=5, idle="5m", concurrency=2, queue=8),
    timeout="1h30m",
    imports=["torch", "transformers.models"],
    env={"LOG_LEVEL": "info", "MODEL_COMMIT": COMMIT, "MAX_TOKENS": "100000000"},
    secrets=["HF_TOKEN", "MY_SECRET"],
    overrides={"modal": {"region": "eu", "cpu": 2.5}, "runpod": {"mode": "queue"}},
)
class F5:
    \"\"\"Speaks.\"\"\"

    def __init__(self, speed: float = 1.0) -> None:
        self.setup()

    def setup(self) -> None: ...

    @hook.build
    @staticmethod
    def kernels(weights) -> None: ...

    @hook.cuda_init
    def wake(self) -> None: ...

    @hook.load(timeout="10m", after="encoder")
    async def model(self, weights, device) -> None: ...

    @hook.load
    def encoder(self, spec, log, extra=None) -> None: ...

    @hook.restored
    def move(self, device) -> None: ...

    @hook.warmup(required=False, canary=True)
    def warm(self) -> None: ...

    @hook.background
    def more(self) -> None: ...

    @endpoint(default=True, timeout=30)
    def speak(
        self,
        ref: Audio,
        text: str,
        *,
        face: Image | None = None,
        speed: Annotated[float, Field(gt=0)] = 1.0,
        voice: Voice = Voice.LOW,
        kind: Literal["a", "b"] = "a",
        style: Style = Style(speed=2),
        sample: Audio = Audio.silence("10ms"),
    ) -> Audio:
        \"\"\"Say it.\"\"\"

    @endpoint
    def stream(self, text: str) -> Iterator[Audio]:
        yield Audio.silence("10ms")

    @endpoint
    async def words(self) -> AsyncIterator[str]:
        yield "a"

    @endpoint
    async def ask(self, text: str): ...
"""


class Project(Protocol):
    folder: Path

    def write(self, options: str = ..., body: str = ..., top: str = ..., *, name: str = ...) -> Path: ...

    def write_text(self, text: str, *, name: str = ...) -> Path: ...


def messages(path: Path, name: str = "") -> list[str]:
    return [problem.message for problem in problems(entry.load(f"{path}{name}"))]


def test_a_full_declaration_becomes_a_spec(project: Project) -> None:
    spec = read_file(str(project.write_text(FULL, name="f5.py")))

    assert (spec.name, spec.module, spec.qualname) == ("f5-tts", "f5", "F5")
    assert spec.gpu == ("L4", "RTX 4090", "H100:2")
    assert (spec.image.python, spec.image.apt) == ("3.11", ("ffmpeg", "libsndfile1"))
    assert spec.image.files == (("voices", "/app/voices"),)
    assert spec.weights["lora"].sha256 == "ab" * 32
    assert spec.weights["tree"].exclude == ("*.bin",)
    assert [weights.origin for weights in spec.weights.values()] == [
        Origin.HF,
        Origin.HF,
        Origin.URL,
        Origin.S3,
        Origin.LOCAL,
    ]
    assert (spec.place, spec.weights["vocos"].place) == (Place.VOLUME, Place.IMAGE)
    assert spec.volume is not None
    assert (spec.volume.size_bytes, spec.scale.idle_s, spec.timeout_s) == (100 * 10**9, 300, 5400)
    assert (spec.snapshot, spec.secrets) == (Snapshot.CPU, ("HF_TOKEN", "MY_SECRET"))
    assert spec.overrides == {"modal": {"region": "eu", "cpu": 2.5}, "runpod": {"mode": "queue"}}


def test_hooks_keep_their_options_and_what_they_ask_for(project: Project) -> None:
    spec = read_file(str(project.write_text(FULL, name="f5.py")))

    model, encoder = spec.hooks_of(Kind.LOAD)
    assert (model.after, model.timeout_s, model.is_async) == (("encoder",), 600, True)
    assert (model.receives, encoder.receives) == (("weights", "device"), ("spec", "log"))
    warm = spec.hooks_of(Kind.WARMUP)[0]
    assert (warm.required, warm.canary) == (False, True)
    assert [hook.required for hook in spec.hooks] == [True, True, True, True, True, False, False]


def test_endpoints_tell_what_callers_send_and_get(project: Project) -> None:
    spec = read_file(str(project.write_text(FULL, name="f5.py")))

    speak, stream, words, ask = spec.endpoints
    assert [endpoint.style for endpoint in spec.endpoints] == [
        CallStyle.PLAIN,
        CallStyle.GENERATOR,
        CallStyle.ASYNC_GENERATOR,
        CallStyle.ASYNC,
    ]
    assert (speak.default, speak.timeout_s, speak.doc, speak.medium) == (True, 30, "Say it.", Medium.AUDIO)
    assert (stream.medium, words.result, ask.result) == (Medium.AUDIO, {"type": "string"}, {})
    parameters = {parameter.name: parameter for parameter in speak.parameters}
    assert [name for name, parameter in parameters.items() if parameter.required] == ["ref", "text"]
    assert [name for name, parameter in parameters.items() if parameter.text] == ["text", "voice", "kind"]
    assert [name for name, parameter in parameters.items() if parameter.medium] == ["ref", "face", "sample"]
    assert (parameters["voice"].default, parameters["style"].default) == ("low", {"speed": 2.0})
    assert parameters["speed"].schema == {"exclusiveMinimum": 0, "type": "number"}
    assert parameters["sample"].default is None


def test_a_spec_survives_json(project: Project) -> None:
    spec = read_file(str(project.write_text(FULL, name="f5.py")))

    again = Spec.from_json(spec.to_json())

    assert again == spec
    assert again.digest() == spec.digest()


def test_the_digest_is_the_same_in_every_folder_process_and_hash_seed(
    project: Project, tmp_path: Path
) -> None:
    path = project.write_text(FULL, name="f5.py")
    elsewhere = tmp_path / "else" / "where"
    elsewhere.mkdir(parents=True)
    shutil.copy(path, elsewhere / "f5.py")
    program = "from coldstart_sdk.declare.read import read_file as r; print(r('f5.py').digest())"

    digests = {
        subprocess.run(
            [sys.executable, "-c", program],
            cwd=folder,
            env={
                **os.environ,
                "PYTHONHASHSEED": seed,
                "PYTHONPATH": PATH,
            },
            check=True,
            capture_output=True,
            text=True,
        ).stdout.strip()
        for folder, seed in ((project.folder, "1"), (elsewhere, "2"))
    }

    assert digests == {read_file(str(path)).digest()}


def test_where_a_method_stands_is_no_part_of_the_digest(project: Project) -> None:
    one = read_file(str(project.write(name="one/app.py"))).digest()
    del sys.modules["app"]

    other = read_file(str(project.write(top="\n\n\n", name="other/app.py"))).digest()

    assert one == other


def test_the_class_comes_back_unchanged() -> None:
    class Plain:
        @hook.load
        def load(self) -> None: ...

    before = Plain.load

    assert warm_model(Plain) is Plain
    assert warm_model(name="x")(Plain) is Plain
    assert Plain.load is before


def test_a_bare_mark_declares_a_class_under_its_own_name(project: Project) -> None:
    path = project.write_text(
        """
        from coldstart_sdk import endpoint, warm_model
        @warm_model
        class F5TTSModel:
            @endpoint
            def speak(self, text: str) -> str: ...
        """
    )

    assert read_file(str(path)).name == "f5-tts-model"


def test_marks_of_a_base_count_and_its_declaration_does_not(project: Project) -> None:
    path = project.write_text(
        """
        from coldstart_sdk import endpoint, hook, warm_model
        class Common:
            @hook.load
            def load(self): ...
        @warm_model(name="base")
        class Base(Common):
            @endpoint
            def speak(self, text: str) -> str: ...
        @warm_model
        class Child(Base):
            @endpoint
            def sing(self, text: str) -> str: ...
        class Bare(Base): ...
        """
    )

    spec = read_file(f"{path}:Child")
    module = sys.modules["app"]

    assert (spec.name, [hook.method for hook in spec.hooks]) == ("child", ["load"])
    assert [endpoint.method for endpoint in spec.endpoints] == ["speak", "sing"]
    assert [problem.message for problem in problems(module.Bare)] == [
        "Bare is not marked; a declaration is not inherited from Base"
    ]


def test_an_override_without_a_mark_is_named(project: Project) -> None:
    path = project.write_text(
        """
        from coldstart_sdk import endpoint, warm_model
        class Base:
            @endpoint
            def speak(self, text: str) -> str: ...
        @warm_model
        class Child(Base):
            @endpoint
            def sing(self, text: str) -> str: ...
            def speak(self, text: str) -> str: ...
        """
    )

    assert messages(path) == ["Child.speak replaces a method marked @endpoint, and is not marked"]


def test_two_decorators_on_one_class_are_named(project: Project) -> None:
    path = project.write_text(
        """
        from coldstart_sdk import endpoint, warm_model
        @warm_model
        @warm_model(name="a")
        class App:
            @endpoint
            def speak(self, text: str) -> str: ...
        """
    )

    assert messages(path) == ["App is decorated with warm_model twice"]


def test_a_class_that_no_worker_can_find_is_named(project: Project) -> None:
    path = project.write_text(
        """
        from coldstart_sdk import endpoint, warm_model
        def make():
            @warm_model
            class Inner:
                @endpoint
                def speak(self, text: str) -> str: ...
            return Inner
        Made = make()
        """
    )

    found = problems(entry.load(f"{path}:Made"))

    assert [problem.message for problem in found] == [
        "Inner is defined in a function, where no worker can find it"
    ]
    assert found[0].where == "app.py:5"


def test_a_class_of_main_is_sent_to_a_module(project: Project) -> None:
    path = project.write(name="main.py")
    with path.open("a") as file:
        file.write("from coldstart_sdk.declare.read import problems\nprint(problems(App))\n")

    run = subprocess.run(
        [sys.executable, str(path)],
        env={**os.environ, "PYTHONPATH": PATH},
        check=True,
        capture_output=True,
        text=True,
    )

    assert "declared in __main__" in run.stdout
    assert "Move it to a module" in run.stdout


def test_an_error_holds_every_problem(project: Project) -> None:
    path = project.write("name='B',\ngpu='H1000',\n")

    with pytest.raises(DeclarationError) as caught:
        read_file(str(path))

    assert caught.value.exit_code == 2
    assert len(caught.value.problems) == 2
    assert caught.value.problems == problems(entry.load(str(path)))


@pytest.mark.parametrize(
    "body",
    [
        "@hook.load\ndef load(self): ...\ndef load_model(self): ...\ndef setup(self): ...",
        "def setup(self): ...\n@hook.load\ndef first(self):\n    self.setup()",
        "def close(self): ...\n@hook.close\ndef stop(self):\n    self.close()",
        "def _load(self): ...",
        "@hook.load\nasync def a(self, **kwargs): ...\n@hook.load(after=['a'])\ndef b(self, *rest): ...",
        "@property\ndef size(self) -> int: ...",
        "@hook.load\ndef load(self): ...\nload_model = load_weights = load",
    ],
)
def test_what_is_sound_is_not_called_a_mistake(project: Project, body: str) -> None:
    path = project.write(body=f"{body}\n@endpoint\ndef speak(self, text: str) -> str: ...\n")

    assert messages(path) == []


@pytest.mark.parametrize(
    "options",
    [
        "store='/srv/models',",
        "store='./models',",
        "store='gs://bucket/models',",
        "gpu='nvidia l4',",
        "image=Container.base('nvcr.io/nvidia/pytorch:24.05-py3'),",
        f"image=Container.base('localhost:5000/a/b@sha256:{'0' * 64}'),",
        "image=Container.base('runpod/pytorch:2.4.0-py3.11-cuda12.4.1-devel-ubuntu22.04'),",
        "image=Container.python('3.11').apt('libgl1=1.6.0-1', 'g++').pip('torch==2.5.1', 'x[y]>=1,<2'),",
        "weights={'m': Weights.url('http://127.0.0.1:8000/a.bin')},",
        "weights={'m': Weights.hf('openai-community/gpt2', 'refs/pr/1', include='*.json')},",
        "weights={'m': Weights.hf('a/b', links={'x/y': 'sub/file.bin'})},",
        "weights={'m': Weights.local('/etc')},",
        "weights={'m': Weights.local('app.py')},",
        "weights={'m': Weights.url('https://x.io/m.bin?download=true&monkey=1&tokens=3')},",
        "image=Container.python('3.11').pip('qzxv-wjk==1'), imports='qzxv_wjk',",
        "image=Container.base('a/b:1'), imports='qzxv_wjk',",
        "imports='app',",
        "env={'TOKENIZERS_PARALLELISM': 'false', 'EOS_TOKEN': '</s>', 'PATH_KEY': 'customer_id'},",
        "secrets='HF_TOKEN',",
        "secrets=['AWS_SECRET_ACCESS_KEY', '_X1'],",
        "timeout=0.5, imports='torch',",
        "snapshot='none', place=None, scale=None, volume=None, overrides=None, weights={},",
    ],
)
def test_what_is_allowed_is_read_without_a_word(project: Project, options: str) -> None:
    assert messages(project.write(options)) == []
