"""Does `explain` keep its promises? Projects with one known waste each, and the same ones mended.

For each pair: the saving that the rule predicts from starts of the wasteful one, beside what mending it
really saved; both are medians of interleaved starts. The clean project must be left alone by every rule.

    python -m benchmarks.promises --rounds 3
"""

from __future__ import annotations

import argparse
import http.server
import json
import os
import statistics
import subprocess
import sys
import tempfile
import textwrap
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks.paired import machine

HEAD = "import os, time\nfrom coldstart_sdk import Weights, endpoint, hook, warm_model\n"
ENDPOINT = """\
    @endpoint
    def speak(self, text: str = "hi") -> str:
        time.sleep(self.pause)
        return text
"""
WAITS = "import time\ntime.sleep(0.8)\nend = True\n"
"""An import that waits for a slow disk: how long it takes does not depend on what else this machine does."""
PIECE_S = 0.05
USED = "import waits\nassert waits.end\n"


@dataclass(frozen=True, kw_only=True)
class Project:
    """A declaration's class body, and what stands around it."""

    body: str
    top: str = ""
    weights: str = ""
    env: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Ran:
    """One start: seconds to ready, of them for importing the file, and what each rule promises."""

    ready_s: float
    import_s: float
    promised: Mapping[str, float]


@dataclass(frozen=True, kw_only=True)
class Pair:
    rule: str
    beside_import: bool = False
    """Leave the import of the file out of both: it is the same, and varies more than the waste."""
    wasteful: Project
    mended: Project


def load(code: str, *, top: str = "", weights: str = "", env: Mapping[str, str] | None = None) -> Project:
    """A class with this in its load."""
    inside = textwrap.indent(textwrap.dedent(code).strip(), "    ")
    return Project(
        body=f"@hook.load\ndef load(self, weights):\n{inside}", top=top, weights=weights, env=env or {}
    )


def pairs(origin: str) -> tuple[Pair, ...]:
    """`{origin}` answers 8 MB at 8 MB/s on each connection."""
    url = f"{origin}/model.bin"
    get = f"import urllib.request\nurllib.request.urlopen('{url}').read()"
    put = (
        "import urllib.request\n"
        f"up = urllib.request.Request('{origin}/up', data=bytes(8000000), method='PUT')\n"
        "urllib.request.urlopen(up).read()"
    )
    weights = f'{{"w": Weights.url("{url}")}}'
    torch = "import torch\n"
    big = "[torch.nn.Linear(3000, 3000) for _ in range(12)]"
    warm = "@hook.warmup\ndef warm(self):\n    for n in range({}):\n        self.speak('a' * (n + 1))\n"
    heads = (
        "@hook.load\ndef a(self):\n    time.sleep(0.8)\n\n@hook.load{}\ndef b(self):\n    time.sleep(0.9)\n"
    )
    twice = "import torch\np = os.environ['MODEL_FILE']\ntorch.load(p)\n"
    return (
        Pair(
            rule="hidden-download",
            wasteful=load(f"{get}\ntime.sleep(0.2)", top=USED),
            mended=load("time.sleep(0.2)", top=USED, weights=weights),
        ),
        Pair(
            rule="few-streams",
            wasteful=load(
                "pass",
                weights=f'{{"w": Weights.url("{origin}/large.bin")}}',
                env={"COLDSTART_FETCH_STREAMS": "1"},
            ),
            mended=load("pass", weights=f'{{"w": Weights.url("{origin}/large.bin")}}'),
        ),
        Pair(rule="unused-imports", wasteful=load("pass", top="import waits\n"), mended=load("pass")),
        Pair(
            rule="late-imports",
            wasteful=load("import waits\ntime.sleep(0.2)", weights=weights),
            mended=load("waits.end\ntime.sleep(0.2)", weights=weights, top="import waits\n"),
        ),
        Pair(
            rule="missing-bytecode",
            wasteful=load(
                "pass",
                top="import many\nmany.__name__\n",
                env={"PYTHONDONTWRITEBYTECODE": "1", "MANY": "bare"},
            ),
            mended=load("pass", top="import many\nmany.__name__\n", env={"MANY": "compiled"}),
        ),
        Pair(
            rule="random-init",
            beside_import=True,
            wasteful=load(f"self.net = torch.nn.Sequential(*{big})\n", top=torch),
            mended=load(
                f"with torch.device('meta'):\n    self.net = torch.nn.Sequential(*{big})\n", top=torch
            ),
        ),
        Pair(
            rule="serial-loads",
            wasteful=Project(body=heads.format('(after="a")')),
            mended=Project(body=heads.format("")),
        ),
        Pair(
            rule="warmup-too-big", wasteful=Project(body=warm.format(4)), mended=Project(body=warm.format(1))
        ),
        Pair(rule="nobody-waits", wasteful=load(put), mended=load("pass")),
        Pair(
            rule="extension-rebuilt",
            wasteful=load("import subprocess\nsubprocess.run(['g++', '-c', 'x.cpp'], check=True)"),
            mended=load("pass"),
        ),
        Pair(
            rule="repeated-work",
            beside_import=True,
            wasteful=load(twice + "torch.load(p)"),
            mended=load(twice),
        ),
        Pair(rule="vendor-sdk", wasteful=load("boto3.__name__", top="import boto3\n"), mended=load("pass")),
    )


CLEAN = Project(
    body=(
        "@hook.load\ndef load(self):\n    time.sleep(0.3)\n\n"
        "@hook.warmup\ndef warm(self):\n    self.speak('a')\n"
    ),
    top=USED,
)


class Bench:
    """A folder with all projects, and the origin that they fetch from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.library = folder / "library"
        for name in ("library", "bare", "compiled", "bin"):
            (folder / name).mkdir()
        (self.library / "waits.py").write_text(WAITS)
        for kind in ("bare", "compiled"):
            _many(folder / kind)
        subprocess.run(
            [sys.executable, "-m", "compileall", "-q", str(folder / "compiled"), str(self.library)],
            check=True,
        )
        compiler = folder / "bin" / "g++"
        compiler.write_text("#!/bin/sh\nsleep 0.8\n")
        compiler.chmod(0o755)
        self._model = folder / "model.pt"

    def run(self, name: str, project: Project) -> Ran:
        """One start, explained."""
        app = self.folder / name / "app.py"
        app.parent.mkdir(exist_ok=True)
        weights = f"(weights={project.weights})" if project.weights else ""
        app.write_text(
            f"{HEAD}{project.top}\n@warm_model{weights}\nclass Model:\n    pause = 0.4\n{ENDPOINT}"
            + textwrap.indent(project.body, "    ")
            + "\n"
        )
        paths = [
            str(self.library),
            str(self.folder / project.env.get("MANY", "bare")),
            str(Path(__file__).parents[1]),
        ]
        env = {
            **os.environ,
            **project.env,
            "PYTHONPATH": ":".join(paths),
            "PATH": f"{self.folder / 'bin'}:{os.environ['PATH']}",
            "MODEL_FILE": str(self.model()) if "MODEL_FILE" in project.body else "",
        }
        with tempfile.TemporaryDirectory() as home:
            ended = subprocess.run(
                [
                    *(sys.executable, "-m", "coldstart_sdk.cli", "explain", str(app)),
                    *("-i", "text=hi", "--json", "--quiet"),
                ],
                env={**env, "COLDSTART_HOME": home},
                capture_output=True,
                text=True,
                check=False,
            )
            assert ended.returncode == 0, ended.stdout + ended.stderr
            told = json.loads(ended.stdout)
            spans = json.loads(Path(told["trace"]).read_text())["spans"]
        promised = {
            finding["rule"]: one["saves_s"]
            for one in told["advice"]
            for finding in (one["finding"], one["together_with"])
            if finding
        }
        import_s = sum(span["end_s"] - span["start_s"] for span in spans if span["name"] == "import:app")
        return Ran(ready_s=told["ready_s"], import_s=import_s, promised=promised)

    def model(self) -> Path:
        """A file of tensors that takes a while to read."""
        if not self._model.exists():
            code = (
                f"import torch; torch.save([torch.zeros(25_000_000) for _ in range(8)], {str(self._model)!r})"
            )
            subprocess.run([sys.executable, "-c", code], check=True)
        return self._model


def _many(folder: Path) -> None:
    """A package of many sources, none of which costs anything but its compilation."""
    (folder / "many").mkdir()
    text = "".join(
        f"def f{n}(a, b=1, *c, **d):\n    return [a + x for x in range(b) if x % {n + 2}]\n"
        for n in range(700)
    )
    for number in range(12):
        (folder / "many" / f"part{number}.py").write_text(text)
    (folder / "many" / "__init__.py").write_text("".join(f"from many import part{n}\n" for n in range(12)))


class _Server(http.server.ThreadingHTTPServer):
    def handle_error(self, *_: object) -> None:
        """A worker that ends resets the connections that it kept."""


class _Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        size = 64_000_000 if "large" in self.path else 8_000_000
        first, last = 0, size - 1
        asked = self.headers.get("Range", "")
        if asked.startswith("bytes="):
            begin, _, end = asked[6:].partition("-")
            first, last = int(begin or 0), min(int(end), last) if end else last
        self.send_response(206 if asked else 200)
        self.send_header("ETag", '"1"')
        self.send_header("Accept-Ranges", "bytes")
        self.send_header("Content-Length", str(last - first + 1))
        if asked:
            self.send_header("Content-Range", f"bytes {first}-{last}/{size}")
        self.end_headers()
        rate = 20e6 if "large" in self.path else 8e6
        left, piece = last - first + 1, int(rate * PIECE_S)
        while left > 0:
            self.wfile.write(bytes(min(piece, left)))
            left -= piece
            time.sleep(PIECE_S)

    do_HEAD = do_GET  # noqa: N815 - the server's own spelling

    def do_PUT(self) -> None:
        left, piece = int(self.headers["Content-Length"]), int(8e6 * PIECE_S)
        while left > 0:
            self.rfile.read(min(piece, left))
            left -= piece
            time.sleep(PIECE_S)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", help="one rule")
    said = parser.parse_args()
    server = _Server(("127.0.0.1", 0), _Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(machine())
    with tempfile.TemporaryDirectory() as folder:
        bench, kept = Bench(Path(folder)), 0
        found = [
            pair
            for pair in pairs(f"http://127.0.0.1:{server.server_address[1]}")
            if said.only in {None, pair.rule}
        ]
        for pair in found:
            kept += _judge(bench, pair, said.rounds)
        clean = [[*bench.run("clean", CLEAN).promised] for _ in range(said.rounds)]
        print(f"{kept} of {len(found)} promises kept within 20 %; fired on the clean project: {clean}")
    server.shutdown()


def _judge(bench: Bench, pair: Pair, rounds: int) -> bool:
    wasteful, mended, promised = [], [], []
    for _ in range(rounds):
        one, other = bench.run("wasteful", pair.wasteful), bench.run("mended", pair.mended)
        wasteful.append(one.ready_s - pair.beside_import * one.import_s)
        mended.append(other.ready_s - pair.beside_import * other.import_s)
        promised.append(one.promised.get(pair.rule, 0.0))
    saved_s = statistics.median(wasteful) - statistics.median(mended)
    promise_s = statistics.median(promised)
    ratio = promise_s / saved_s if saved_s > 0 else float("nan")
    print(
        f"{pair.rule:<20} promised {promise_s:6.3f} s, saved {saved_s:6.3f} s, ratio {ratio:5.2f}"
        f"   ready {statistics.median(wasteful):.2f} > {statistics.median(mended):.2f} s",
        flush=True,
    )
    return 0.8 <= ratio <= 1.2


if __name__ == "__main__":
    main()
