"""The wastes of `broken` as other people write them: async, at module level, in `__init__`, by a shell."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from benchmarks.broken import BYTES_S, Project, load, speaks


@dataclass(frozen=True, kw_only=True)
class Variant:
    rule: str
    project: Project
    needs: str | None = None
    """A library that it is written with."""


_STREAMS = """\
    @endpoint
    async def speak(self, text: str = "hi"):
        {}
        yield text
"""
_WARM = """\
@hook.warmup
async def warm(self):
    for n in range(1, {}):
        async for _ in self.speak("a" * n): pass
"""
NAMES = (
    "downloads by httpx in an async load",
    "downloads in __init__ by requests",
    "downloads at module level",
    "downloads by curl",
    "downloads on threads",
    "downloads in an async request",
    "imports in __init__",
    "imports by importlib in a warm-up",
    "a name from a package that is never used",
    "parameters filled by a tensor's own method",
    "async loads one after another",
    "warm-ups of an async stream",
    "warm-ups in two hooks",
    "shapes of an async stream",
    "files deleted one by one",
    "a folder deleted by rm",
    "an upload by httpx",
    "an optional hook",
    "one file read in two hooks",
    "a compiler by os.system",
    "a compiler by a shell's line",
    "a compiler on the loop",
)


def variants(origin: str, waste_s: float) -> Mapping[str, Variant]:
    found = {**_of_bytes(origin, waste_s), **_of_code(waste_s), **_of_warm_ups(waste_s), **_of_work(waste_s)}
    assert set(found) == set(NAMES)
    return found


def _of_bytes(origin: str, waste_s: float) -> Mapping[str, Variant]:
    size = int(waste_s * BYTES_S)
    url = f"{origin}/{size}/hidden.bin"
    weights = "import waits\nassert waits.end\n"
    by_httpx = (
        f"async with httpx.AsyncClient() as client:\n    self.bytes = (await client.get('{url}')).content\n"
    )
    lazily = f"if not hasattr(self, 'bytes'):\n    {by_httpx.replace(chr(10), chr(10) + '    ')}\n"
    on_threads = (
        "with ThreadPoolExecutor(2) as pool:\n"
        f"    list(pool.map(lambda url: urllib.request.urlopen(url).read(), ['{url}', '{url}2']))\n"
    )
    return {
        "downloads by httpx in an async load": Variant(
            rule="hidden-download",
            needs="httpx",
            project=Project(top=f"import httpx\n{weights}", body=_hook("load", by_httpx, is_async=True)),
        ),
        "downloads in __init__ by requests": Variant(
            rule="hidden-download",
            needs="requests",
            project=Project(
                top=f"import requests\n{weights}",
                body=f"def __init__(self):\n    self.bytes = requests.get('{url}').content\n",
            ),
        ),
        "downloads at module level": Variant(
            rule="hidden-download",
            project=load(
                "pass",
                top=f"import urllib.request\nBYTES = urllib.request.urlopen('{url}').read()\n{weights}",
            ),
        ),
        "downloads by curl": Variant(
            rule="hidden-download",
            project=load(
                f"subprocess.run(['curl', '-s', '-o', os.devnull, '{url}'], check=True)",
                top=f"import subprocess\n{weights}",
            ),
        ),
        "downloads on threads": Variant(
            rule="hidden-download",
            project=load(
                on_threads,
                top=f"import urllib.request\nfrom concurrent.futures import ThreadPoolExecutor\n{weights}",
            ),
        ),
        "downloads in an async request": Variant(
            rule="hidden-download-in-request",
            needs="httpx",
            project=Project(top="import httpx\n", body="", speak=_async_speak(lazily)),
        ),
        "an upload by httpx": Variant(
            rule="nobody-waits",
            needs="httpx",
            project=Project(
                top="import httpx\n",
                body=_hook("warmup", f"httpx.put('{origin}/up', content=bytes({size}), timeout=60)\n"),
            ),
        ),
    }


def _of_code(waste_s: float) -> Mapping[str, Variant]:
    return {
        "imports in __init__": Variant(
            rule="late-imports",
            project=Project(body="def __init__(self):\n    import waits\n    self.end = waits.end\n"),
        ),
        "imports by importlib in a warm-up": Variant(
            rule="late-imports",
            project=Project(
                top="import importlib\n",
                body=f"{_hook('load', f'time.sleep({waste_s})')}\n"
                f"{_hook('warmup', 'importlib.import_module(' + repr('waits') + ')')}",
            ),
        ),
        "a name from a package that is never used": Variant(
            rule="unused-imports", project=load("pass", top="from waits import end as done\n")
        ),
    }


def _of_warm_ups(waste_s: float) -> Mapping[str, Variant]:
    once = (
        "if not hasattr(self, 's'): self.s = set()\n"
        f"        if len(text) not in self.s: self.s.add(len(text)) or time.sleep({waste_s})"
    )
    return {
        "warm-ups of an async stream": Variant(
            rule="warmup-too-big",
            project=Project(body=_WARM.format(5), speak=_STREAMS.format(f"time.sleep({waste_s / 3})")),
        ),
        "warm-ups in two hooks": Variant(
            rule="warmup-too-big",
            project=Project(
                body="@hook.warmup\ndef short(self):\n    self.speak('a')\n\n"
                "@hook.warmup(after='short')\ndef long(self):\n    self.speak('aaaa')\n",
                speak=speaks(f"time.sleep({waste_s})"),
            ),
        ),
        "shapes of an async stream": Variant(
            rule="first-call-per-shape",
            project=Project(body=_WARM.format(2), speak=_STREAMS.format(once)),
        ),
        "async loads one after another": Variant(
            rule="serial-loads",
            project=Project(
                top="import asyncio\n",
                body=f"@hook.load\nasync def a(self):\n    await asyncio.sleep({waste_s})\n\n"
                f"@hook.load(after='a')\nasync def b(self):\n    await asyncio.sleep({waste_s})\n",
            ),
        ),
        "an optional hook": Variant(
            rule="nobody-waits",
            project=Project(
                body=f"@hook.restored(required=False)\ndef count(self):\n    time.sleep({waste_s})\n"
            ),
        ),
    }


def _of_work(waste_s: float) -> Mapping[str, Variant]:
    files = (
        "import pathlib, tempfile\nHERE = pathlib.Path(tempfile.mkdtemp())\n"
        "for n in range(20_000): (HERE / str(n)).touch()\n"
    )
    once = f"torch.load(slowfile.Slow(os.environ['MODEL_FILE'], {waste_s}))"
    built = "g++ -c x.cpp"
    return {
        "parameters filled by a tensor's own method": Variant(
            rule="random-init",
            needs="torch",
            project=load(
                "self.p = [torch.empty(3000, 3000).normal_() for _ in range(16)]", top="import torch\n"
            ),
        ),
        "files deleted one by one": Variant(
            rule="nobody-waits", project=load("for file in HERE.iterdir(): file.unlink()", top=files)
        ),
        "a folder deleted by rm": Variant(
            rule="nobody-waits",
            project=load("subprocess.run(['rm', '-rf', str(HERE)])", top=f"import subprocess\n{files}"),
        ),
        "one file read in two hooks": Variant(
            rule="repeated-work",
            needs="torch",
            project=Project(
                top="import slowfile, torch\n",
                body=f"def __init__(self):\n    self.a = {once}\n\n"
                f"@hook.load\ndef load(self):\n    self.b = {once}\n",
            ),
        ),
        "a compiler by os.system": Variant(
            rule="extension-rebuilt", project=load(f"assert os.system('{built}') == 0")
        ),
        "a compiler by a shell's line": Variant(
            rule="extension-rebuilt",
            project=load(
                f"subprocess.check_call(['bash', '-c', 'cd /tmp && CC=gcc {built}'])",
                top="import subprocess\n",
            ),
        ),
        "a compiler on the loop": Variant(
            rule="extension-rebuilt",
            project=Project(
                top="import asyncio\n",
                body=_hook(
                    "load",
                    "built = await asyncio.create_subprocess_exec('g++', 'x.cpp')\nawait built.wait()\n",
                    is_async=True,
                ),
            ),
        ),
    }


def _hook(kind: str, code: str, *, is_async: bool = False) -> str:
    lines = "".join(f"    {line}\n" for line in code.splitlines())
    return f"@hook.{kind}\n{'async ' * is_async}def {kind}(self):\n{lines}"


def _async_speak(code: str) -> str:
    lines = "".join(f"        {line}\n" for line in code.splitlines())
    return f'    @endpoint\n    async def speak(self, text: str = "hi") -> str:\n{lines}        return text\n'
