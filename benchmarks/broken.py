"""Projects with one known waste each, the same ones mended, and one without any.

What is wasted is waited for, in a sleep or on a link of a chosen speed: how long it takes does not depend on
what else this machine does. Where only work can be wasted, as in imports without bytecode, it is work.
"""

from __future__ import annotations

import contextlib
import hashlib
import http.server
import json
import os
import shutil
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import limits

HEAD = "import io, os, sys, time\nfrom coldstart_sdk import Container, Weights, endpoint, hook, warm_model\n"
SPEAK = """\
    @endpoint
    def speak(self, text: str = "hi") -> str:
        time.sleep(0.02)
        return text
"""
USED = "import waits\nassert waits.end\n"
PIECE_S = 0.05
BYTES_S = 4e6
"""What the origin gives to each connection."""
_LARGE_BYTES = 64_000_000
_READS_PER_S, _PAGE_BYTES = 500, 4096
"""Of the slow disk."""


@dataclass(frozen=True, kw_only=True)
class Project:
    """A declaration's class body, and what stands around it."""

    body: str
    top: str = ""
    weights: str = ""
    image: str = ""
    env: Mapping[str, str] = field(default_factory=dict)
    speak: str = SPEAK


@dataclass(frozen=True, kw_only=True)
class Pair:
    rule: str
    wasteful: Project
    mended: Project
    of_first: bool = False
    """What is wasted is the first caller's time, not READY's."""
    beside_import: bool = False
    """Leave the import of the file out of both: it is the same, and varies more than the waste."""
    again: bool = False
    """The second start on one machine is the one to look at."""
    cores: float | None = None
    """Fewer cores than the machine has, by a quota."""
    is_priced: bool = True
    """Whether its rule promises all that mending it saves."""
    slow_disk: bool = False
    """A disk that answers few reads in a second, as a network volume does."""


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One start, explained."""

    ready_s: float
    first_s: float
    import_s: float
    """Of the file."""
    promised: Mapping[str, float]
    """By rule."""
    fired: frozenset[str]
    """Rules that said anything, of no worth too."""


def load(code: str, **around: Any) -> Project:  # noqa: ANN401 - the other fields of a project
    """A class with this in its load."""
    inside = textwrap.indent(textwrap.dedent(code).strip(), "    ")
    return Project(body=f"@hook.load\ndef load(self, weights):\n{inside}", **around)


def speaks(code: str) -> str:
    """An endpoint with this before its answer."""
    inside = textwrap.indent(textwrap.dedent(code).strip(), "        ")
    tail = "        time.sleep(0.02)\n        return text\n"
    return f'    @endpoint\n    def speak(self, text: str = "hi") -> str:\n{inside}\n{tail}'


def clean(origin: str, waste_s: float) -> Project:
    """Everything in its place: weights declared, imports at the top, one warm-up, the rest behind READY."""
    return Project(
        weights=_weights(origin, waste_s),
        top=USED,
        body=(
            "@hook.load\ndef load(self, weights):\n    self.size = weights['w'].path.stat().st_size\n"
            "    time.sleep(0.2)\n\n"
            "@hook.warmup\ndef warm(self):\n    self.speak('a')\n\n"
            "@hook.background\ndef rest(self):\n    self.speak('a' * 9)\n"
        ),
    )


def pairs(origin: str, waste_s: float) -> tuple[Pair, ...]:
    return (
        *_of_bytes(origin, waste_s),
        *_of_imports(origin, waste_s),
        *_of_work(origin, waste_s),
        *_of_first(origin, waste_s),
    )


def machine_pairs() -> tuple[Pair, ...]:
    """Those whose cost is the machine's own: a compiler's, a quota's, a disk's."""
    mapped = """
    file = open(os.environ['PAGES_FILE'], 'rb')
    {}
    for page in random.Random(1).sample(range(0, len(pages), 4096), len(pages) // 4096):
        self.sum = pages[page]
    """
    whole = "pages = file.read()"
    by_page = "pages = mmap.mmap(file.fileno(), 0, prot=mmap.PROT_READ); pages.madvise(mmap.MADV_RANDOM)"
    work = (
        "torch.set_num_threads({})\nfor _ in range(150):\n    torch.ones(400, 400) @ torch.ones(400, 400)\n"
    )
    graph = "torch.compile(lambda x: (torch.sin(x) + 1).sum())(torch.ones(100))\n"
    torch = "import torch\n"
    elsewhere = f"import tempfile\nos.environ['TORCHINDUCTOR_CACHE_DIR'] = tempfile.mkdtemp()\n{torch}"
    return (
        Pair(
            rule="mapped-weights",
            slow_disk=True,
            wasteful=load(mapped.format(by_page), top="import mmap, random\n"),
            mended=load(mapped.format(whole), top="import random\n"),
        ),
        Pair(
            rule="too-many-threads",
            cores=1.0,
            is_priced=False,
            wasteful=load(work.format(8), top=torch),
            mended=load(work.format(1), top=torch),
        ),
        Pair(
            rule="compile-cache-missed",
            again=True,
            beside_import=True,
            wasteful=load(graph, top=elsewhere),
            mended=load(graph, top=torch),
        ),
    )


def bypassing() -> Project:
    """A graph that no cache may hold; its cost cannot be told from that of a miss."""
    twice = (
        "import torch\nclass Twice(torch.autograd.Function):\n"
        "    @staticmethod\n    def forward(ctx, x): return x * 2\n"
        "    @staticmethod\n    def backward(ctx, g): return g * 2\n"
    )
    code = "torch.compile(lambda x: Twice.apply(x).sum())(torch.ones(9, requires_grad=True))"
    return load(code, top=twice)


def _weights(origin: str, waste_s: float) -> str:
    return f'{{"w": Weights.url("{origin}/{int(waste_s * BYTES_S)}/model.bin")}}'


def _of_bytes(origin: str, waste_s: float) -> tuple[Pair, ...]:
    size = int(waste_s * BYTES_S)
    net = "import urllib.request\n"
    get = f"urllib.request.urlopen('{origin}/{size}/hidden.bin').read()\n"
    put = (
        f"up = urllib.request.Request('{origin}/up', data=bytes({size}), method='PUT')\n"
        "urllib.request.urlopen(up).read()"
    )
    large = f'{{"w": Weights.url("{origin}/large/{waste_s * 2}/large.bin")}}'
    late = f"{origin}/late/{waste_s}/late.bin"
    twice = f"for _ in range({{}}):\n    torch.load(slowfile.Slow(os.environ['MODEL_FILE'], {waste_s}))\n"
    return (
        Pair(
            rule="hidden-download",
            wasteful=load(f"{get}time.sleep(0.2)", top=f"{net}{USED}"),
            mended=load("time.sleep(0.2)", top=f"{net}{USED}", weights=_weights(origin, waste_s)),
        ),
        Pair(
            rule="few-streams",
            wasteful=load("pass", weights=large, env={"COLDSTART_FETCH_STREAMS": "1"}),
            mended=load("pass", weights=large),
        ),
        Pair(
            rule="unlocked-origin",
            again=True,
            wasteful=load("pass", weights=f'{{"w": Weights.url("{late}")}}'),
            mended=load("pass", weights=f'{{"w": Weights.url("{late}", sha256="{_zeros(BYTES_S)}")}}'),
        ),
        Pair(rule="nobody-waits", wasteful=load(put, top=net), mended=load("pass", top=net)),
        Pair(
            rule="repeated-work",
            beside_import=True,
            wasteful=load(twice.format(2), top="import slowfile, torch\n"),
            mended=load(twice.format(1), top="import slowfile, torch\n"),
        ),
    )


def _of_imports(origin: str, waste_s: float) -> tuple[Pair, ...]:
    weights = _weights(origin, waste_s)
    many = "import many\nmany.__name__\n"
    return (
        Pair(rule="unused-imports", wasteful=load("pass", top="import waits\n"), mended=load("pass")),
        Pair(
            rule="late-imports",
            wasteful=load("import waits\ntime.sleep(0.2)", weights=weights),
            mended=load("waits.end\ntime.sleep(0.2)", weights=weights, top="import waits\n"),
        ),
        Pair(
            rule="missing-bytecode",
            wasteful=load("pass", top=many, env={"PYTHONDONTWRITEBYTECODE": "1", "MANY": "bare"}),
            mended=load("pass", top=many, env={"MANY": "compiled"}),
        ),
        Pair(rule="vendor-sdk", wasteful=load("wandb.end", top="import wandb\n"), mended=load("pass")),
    )


def _of_work(origin: str, waste_s: float) -> tuple[Pair, ...]:
    del origin
    big = "[torch.nn.Linear(3000, 3000) for _ in range(24)]"
    heads = (
        f"@hook.load\ndef a(self):\n    time.sleep({waste_s})\n\n"
        f"@hook.load{{}}\ndef b(self):\n    time.sleep({waste_s * 1.1})\n"
    )
    warm = "@hook.warmup\ndef warm(self):\n    for n in range({}):\n        self.speak('a' * (n + 1))\n"
    slowly = speaks(f"time.sleep({waste_s / 3})")
    return (
        Pair(
            rule="random-init",
            beside_import=True,
            wasteful=load(f"self.net = torch.nn.Sequential(*{big})\n", top="import torch\n"),
            mended=load(
                f"with torch.device('meta'):\n    self.net = torch.nn.Sequential(*{big})\n",
                top="import torch\n",
            ),
        ),
        Pair(
            rule="serial-loads",
            wasteful=Project(body=heads.format('(after="a")')),
            mended=Project(body=heads.format("")),
        ),
        Pair(
            rule="warmup-too-big",
            wasteful=Project(body=warm.format(4), speak=slowly),
            mended=Project(body=warm.format(1), speak=slowly),
        ),
        Pair(
            rule="extension-rebuilt",
            wasteful=load("subprocess.run(['g++', '-c', 'x.cpp'], check=True)", top="import subprocess\n"),
            mended=load("pass", top="import subprocess\n"),
        ),
    )


def _of_first(origin: str, waste_s: float) -> tuple[Pair, ...]:
    once = f"if not hasattr(self, 'is_warm'):\n    self.is_warm = time.sleep({waste_s}) or True\n"
    shapes = (
        f"seen = self.__dict__.setdefault('seen', set())\n"
        f"if len(text) not in seen:\n    seen.add(len(text)) or time.sleep({waste_s})\n"
    )
    warm = "@hook.warmup\ndef warm(self):\n    self.speak({!r})\n"
    get = (
        "if not hasattr(self, 'more'):\n"
        f"    self.more = urllib.request.urlopen('{origin}/{int(waste_s * BYTES_S)}/hidden.bin').read()\n"
    )
    net = "import urllib.request\n"
    return (
        Pair(
            rule="hidden-download-in-request",
            of_first=True,
            wasteful=Project(body="", top=net, speak=speaks(get)),
            mended=load("self.more = weights['w'].path", top=net, weights=_weights(origin, waste_s)),
        ),
        Pair(
            rule="warmup-missing",
            of_first=True,
            wasteful=Project(body="", speak=speaks(once)),
            mended=Project(body=warm.format("a"), speak=speaks(once)),
        ),
        Pair(
            rule="first-call-per-shape",
            of_first=True,
            wasteful=Project(body=warm.format("a"), speak=speaks(shapes)),
            mended=Project(body=warm.format("hi"), speak=speaks(shapes)),
        ),
    )


REMARKS: Mapping[str, Project] = {
    "image-too-large": load("pass", image="Container.python('3.11').pip('torch')"),
    "device-at-import": load("pass", top="import torch\nDEVICE = torch.cuda.is_available() and 'cuda'\n"),
    "late-environment": load("os.environ['OMP_NUM_THREADS'] = '1'", top="import torch\nassert torch\n"),
}
"""Mistakes that are worth a word, though no time that a trace can tell."""


class Workshop:
    """A folder with what the projects import and run."""

    def __init__(self, folder: Path, waste_s: float) -> None:
        self.folder = folder
        for name in ("library", "bare", "compiled", "bin"):
            (folder / name).mkdir()
        for name in ("waits", "wandb"):
            (folder / "library" / f"{name}.py").write_text(
                f"import time\ntime.sleep({waste_s})\nend = True\n"
            )
        (folder / "library" / "slowfile.py").write_text(_SLOW_FILE)
        for kind in ("bare", "compiled"):
            _many(folder / kind, round(waste_s * 12))
        compiled = [str(folder / name) for name in ("compiled", "library")]
        subprocess.run([sys.executable, "-m", "compileall", "-q", *compiled], check=True)
        compiler = folder / "bin" / "g++"
        compiler.write_text(f"#!/bin/sh\nsleep {waste_s}\n")
        compiler.chmod(0o755)
        self._model = folder / "model.pt"
        self._pages_file = folder / "pages.bin"
        self._waste_s = waste_s

    def look(self, pair: Pair, project: Project) -> Ran:
        """One start of either of the two, as the pair asks for it."""
        name = "wasteful" if project is pair.wasteful else "mended"
        with contextlib.ExitStack() as limited:
            under: tuple[str, ...] = ()
            if pair.cores:
                under = limited.enter_context(limits.cores(pair.cores))
            if pair.slow_disk:
                under = limited.enter_context(limits.reads(_READS_PER_S, of=self._pages()))
                _forget(self._pages())
            return self.run(name, project, again=pair.again, under=under)

    def run(self, name: str, project: Project, *, again: bool = False, under: tuple[str, ...] = ()) -> Ran:
        """One start from an empty home, or the one after it, and three requests."""
        app = self.folder / name / "app.py"
        app.parent.mkdir(exist_ok=True)
        app.write_text(_text(project))
        with tempfile.TemporaryDirectory() as home:
            env = {**self._env(project), "COLDSTART_HOME": home}
            for _ in range(again):
                _coldstart(env, "run", str(app), "-i", "text=hi", "--quiet")
            explain = ("explain", str(app), "-i", "text=hi", "--json", "--quiet")
            told = json.loads(_coldstart(env, *explain, under=under))
            return _ran(told, json.loads(Path(told["trace"]).read_text()))

    def _env(self, project: Project) -> dict[str, str]:
        paths = [
            self.folder / "library",
            self.folder / project.env.get("MANY", "bare"),
            Path(__file__).parents[1],
        ]
        return {
            **os.environ,
            **project.env,
            "PYTHONPATH": os.pathsep.join(map(str, paths)),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "MODEL_FILE": str(self._tensors()) if "MODEL_FILE" in project.body else "",
            "PAGES_FILE": str(self._pages()),
            "CXX": shutil.which("g++") or "g++",
        }

    def _pages(self) -> Path:
        if not self._pages_file.exists():
            self._pages_file.write_bytes(os.urandom(_PAGE_BYTES * round(_READS_PER_S * self._waste_s)))
            os.sync()
        return self._pages_file

    def _tensors(self) -> Path:
        if not self._model.exists():
            code = f"import torch; torch.save([torch.zeros(250_000) for _ in range(4)], {str(self._model)!r})"
            subprocess.run([sys.executable, "-c", code], check=True)
        return self._model


def _text(project: Project) -> str:
    said = {"weights": project.weights, "image": project.image}
    options = ", ".join(f"{name}={value}" for name, value in said.items() if value)
    body = textwrap.indent(project.body, "    ")
    return f"{HEAD}{project.top}\n@warm_model({options})\nclass Model:\n{project.speak}\n{body}\n"


def _forget(file: Path) -> None:
    """Put it out of the page cache."""
    with file.open("rb") as opened:
        os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def _coldstart(env: Mapping[str, str], *arguments: str, under: tuple[str, ...] = ()) -> str:
    command = [*under, sys.executable, "-m", "coldstart_sdk.cli", *arguments]
    ended = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


def _ran(told: Mapping[str, Any], trace: Mapping[str, Any]) -> Ran:
    advised = [
        (finding["rule"], one["saves_s"])
        for one in told["advice"]
        for finding in (one["finding"], one["together_with"])
        if finding
    ]
    beside = [finding["rule"] for finding in (*told["beside"], *told["remarks"])]
    imports = (span for span in trace["spans"] if span["name"] == "import:app")
    return Ran(
        ready_s=told["ready_s"],
        first_s=told["answer_s"],
        import_s=sum(span["end_s"] - span["start_s"] for span in imports),
        promised=dict(advised),
        fired=frozenset(dict(advised)) | frozenset(beside),
    )


_SLOW_FILE = '''\
"""A file on a disk that takes its time: so long for the whole of it."""
import io, os, time


class Slow(io.FileIO):
    def __init__(self, path, seconds):
        super().__init__(path)
        self.per_byte = seconds / os.path.getsize(path)

    def readinto(self, into):
        count = super().readinto(into)
        time.sleep(count * self.per_byte)
        return count

    def read(self, size=-1):
        piece = super().read(size)
        time.sleep(len(piece) * self.per_byte)
        return piece
'''


def _many(folder: Path, count: int) -> None:
    """A package of many sources, none of which costs anything but its compilation."""
    (folder / "many").mkdir()
    text = "".join(
        f"def f{n}(a, b=1, *c, **d):\n    return [a + x for x in range(b) if x % {n + 2}]\n"
        for n in range(700)
    )
    for number in range(count):
        (folder / "many" / f"part{number}.py").write_text(text)
    (folder / "many" / "__init__.py").write_text("".join(f"from many import part{n}\n" for n in range(count)))


def _zeros(size: float) -> str:
    """The digest of so many zeros."""
    return hashlib.sha256(bytes(int(size))).hexdigest()


@contextmanager
def origin() -> Iterator[str]:
    """Its address.

    `/N/…` is N bytes at BYTES_S; `/large/S/…` is 64 MB that take one connection S seconds; `/late/S/…`
    answers any question after S seconds.
    """
    server = _Server(("127.0.0.1", 0), _Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: object) -> None:
        """A worker that ends resets the connections that it kept."""


class _Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size, rate, late_s = self._asked()
        time.sleep(late_s)
        first, last = self._range(size)
        asked = "Range" in self.headers
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        if self.command == "HEAD":
            return
        left, piece = last - first + 1, int(rate * PIECE_S)
        while left > 0:
            self.wfile.write(bytes(min(piece, left)))
            left -= piece
            time.sleep(PIECE_S)

    do_HEAD = do_GET  # noqa: N815 - the server's own spelling

    def do_PUT(self) -> None:
        left, piece = int(self.headers["Content-Length"]), int(BYTES_S * PIECE_S)
        while left > 0:
            self.rfile.read(min(piece, left))
            left -= piece
            time.sleep(PIECE_S)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _asked(self) -> tuple[int, float, float]:
        """Bytes, bytes a second, and seconds until the answer."""
        kind, what, *_ = self.path.strip("/").split("/")
        if kind == "large":
            return _LARGE_BYTES, _LARGE_BYTES / float(what), 0.0
        if kind == "late":
            return int(BYTES_S), BYTES_S * 10, float(what)
        return int(kind), BYTES_S, 0.0

    def _range(self, size: int) -> tuple[int, int]:
        asked = self.headers.get("Range", "")
        if not asked.startswith("bytes="):
            return 0, size - 1
        begin, _, end = asked[6:].partition("-")
        return int(begin or 0), min(int(end), size - 1) if end else size - 1

    def log_message(self, *_: object) -> None:
        pass
