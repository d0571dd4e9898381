"""Each row is one mistake: what is written, what is said, and the mend. `# <-` marks the line named."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import pytest

from coldstart_sdk import entry
from coldstart_sdk.declare.options import KNOWN
from coldstart_sdk.declare.read import problems
from coldstart_sdk.errors import ColdstartError, Problem

SECRET = "hf_" + "aBcD1234" * 4
DENSE = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
DEFAULT = """
@hook.load
def load(self, weights): ...
@endpoint
def speak(self, text: str) -> Audio: ...
"""


class Project(Protocol):
    folder: Path

    def write(self, options: str = ..., body: str = ..., top: str = ..., *, name: str = ...) -> Path: ...

    def write_text(self, text: str, *, name: str = ...) -> Path: ...


@dataclass(frozen=True)
class Row:
    id: str
    options: str
    message: str
    fix: str
    body: str = DEFAULT
    top: str = ""
    among: bool = False
    """Other mistakes follow from this one."""


def hooked(hooks: str) -> str:
    """A class body with these members and an endpoint."""
    return f"{hooks}\n@endpoint\ndef answer(self, text: str) -> str: ...\n"


def asked(signature: str, decorator: str = "@endpoint", inside: str = "...") -> str:
    """A class body whose only endpoint is `speak` with this signature."""
    return f"{decorator}  # <-\ndef speak{signature}:\n    {inside}\n"


def weighed(weights: str) -> str:
    return f"weights={{\n    {weights},  # <-\n}},"


OPTIONS = (
    Row("an option nobody knows", "gpus='L4',  # <-", "no option 'gpus'", "Did you mean gpu=?"),
    Row("an option like none", "colour='red',  # <-", "no option 'colour'", "It takes name, gpu"),
    Row("a name in capitals", "name='F5_TTS',  # <-", "name: 'F5_TTS'", 'name="f5-tts"'),
    Row("a name too long", f"name='{'a' * 61}',  # <-", "not a name that", "at most 60"),
    Row("a name of digits", "name='5tts',  # <-", "name: '5tts'", 'name="tts"'),
    Row("a name that is a number", "name=5,  # <-", "name is a whole number", "Write name="),
    Row("an empty name", "name='',  # <-", "name is empty", "Write name="),
    Row("no such card", "gpu='H1000',  # <-", "no card 'H1000'", "H100"),
    Row("no card at all", "gpu=[],  # <-", "names no card", "Leave gpu= out"),
    Row("no such card in a list", "gpu=[\n  'L4',\n  'L44',  # <-\n],", "no card 'L44'", "Did you mean L4"),
    Row("a card twice", "gpu=['4090', 'RTX 4090'],  # <-", "RTX 4090 is named twice", "once"),
    Row("a mark that this card has not", "gpu='L4!',  # <-", "no card 'L4!'", "Did you mean L4"),
    Row("no cards of a kind", "gpu='L4:0',  # <-", "no proper count", "L4:2"),
    Row("a number of GPUs", "gpu=1,  # <-", "gpu is a whole number", 'gpu="L4"'),
    Row("a media type as image", "image=Image,  # <-", "image is the class Image", "Container.python"),
    Row("an image as a string", "image='a/b:1',  # <-", "image is a string", 'Container.base("a/b:1")'),
    Row("a Python as a number", "image=Container.python(3.10),  # <-", "3.1 is not a Python", '"3.10"'),
    Row("an old Python", "image=Container.python('3.8'),  # <-", "'3.8' is not a Python", '"3.11"'),
    Row("two starts", "image=Container.python('3.11').base('a:1'),  # <-", "starts 2 times", "Start once"),
    Row("no start", "image=Container().apt('git'),  # <-", "starts 0 times", "Start once"),
    Row("no tag", "image=Container.base('nvidia/cuda'),  # <-", "names no tag", "nvidia/cuda:<tag>"),
    Row("an image in capitals", "image=Container.base('A b:1'),  # <-", "is not an image", "lower case"),
    Row(
        "packages in one string",
        "image=Container.python('3.11').apt('ffmpeg git'),  # <-",
        "not one Debian package",
        ".apt('ffmpeg', 'git')",
    ),
    Row(
        "requirements in a list",
        "image=Container.python('3.11').pip(['torch']),  # <-",
        ".pip was given a list",
        "one argument each",
    ),
    Row(
        "an option of pip",
        "image=Container.python('3.11').pip('--pre'),  # <-",
        "an option of pip",
        ".run(",
    ),
    Row("an empty command", "image=Container.python('3.11').run(' '),  # <-", "is not a command", ".run("),
    Row(
        "a file outside",
        "image=Container.python('3.11').copy('../x', '/x'),  # <-",
        "'../x' does not lie beside",
        "project's folder",
    ),
    Row(
        "a secret in a command",
        f"image=Container.python('3.11').run('curl -H {SECRET}'),  # <-",
        ".run holds a secret",
        "secrets=",
    ),
    Row(
        "a secret in the image",
        f"image=(\n Container.python('3.11')\n .env(HF_TOKEN='{SECRET}')  # <-\n),",
        "image/env/HF_TOKEN looks like a secret",
        'secrets=["HF_TOKEN"]',
    ),
    Row(
        "a password in a requirement",
        "image=Container.python('3.11').pip('git+https://me:pa55word@host/x'),  # <-",
        ".pip holds a secret",
        "secrets=",
    ),
    Row("an http store", "store='https://x/y',  # <-", "store: 'https://x/y' is a web", "AWS_ENDPOINT_URL"),
    Row("a store with one slash", "store='s3:/b/p',  # <-", "not an s3 address", '"s3://b/p"'),
    Row("a store of Hadoop's", "store='s3a://bbb/p',  # <-", "not an s3 address", '"s3://bbb/p"'),
    Row(
        "a store that is a bare word",
        "store='models',  # <-",
        "neither an address nor a path",
        "begins with / or ./",
    ),
    Row("a store of R2", "store='r2://bbb/p',  # <-", "spoken as s3://", "AWS_ENDPOINT_URL"),
    Row("a bucket in capitals", "store='s3://MyBucket/p',  # <-", "'MyBucket' is not", '"s3://mybucket/p"'),
    Row("a bucket with dots", "store='s3://my.bucket/p',  # <-", "'my.bucket' is not", "my-bucket"),
    Row("a bucket too short", "store='s3://ab/p',  # <-", "'ab' is not a bucket", "3 to 63"),
    Row("no bucket", "store='s3:///models',  # <-", "names no bucket", "s3://bucket/prefix"),
    Row("an empty part in a prefix", "store='s3://bbb//p',  # <-", "not a plain prefix", "empty parts"),
    Row("a store that is a number", "store=3,  # <-", "store is a whole number", "s3://bucket"),
    Row("a store with a newline", "store='s3://bbb/p\\n',  # <-", "white space", "pasted newline"),
    Row("a key in a store", "store='s3://me:pa55word@bbb/p',  # <-", "store holds a key", "environment"),
    Row("results on the web", "results='https://x/y',  # <-", "results: 'https://x/y'", "s3://bucket"),
    Row("no such place", "place='volumes',  # <-", "place is 'volumes'", "Did you mean volume?"),
    Row("a place like none", "place='moon',  # <-", "place is 'moon'", "Choose one of 'store'"),
    Row("no such snapshot", "snapshot='gpuu',  # <-", "snapshot is 'gpuu'", "Did you mean gpu?"),
    Row("a GPU snapshot without a GPU", "snapshot='gpu',  # <-", "and no GPU", 'gpu="L4"'),
    Row("a volume as a string", "volume='models',  # <-", "volume is a string", 'Volume("models")'),
    Row("a volume's name", "volume=Volume('a b'),  # <-", "'a b' is not a name", "at most 63"),
    Row("a volume's size", "volume=Volume('m', size='10 gigs'),  # <-", "'10 gigs' is not a size", "10GB"),
    Row("a volume of nothing", "volume=Volume('m', size=0),  # <-", "size 0", "more than 0"),
    Row("a read address", "read_url='cdn.example.com',  # <-", "not an http", "https://"),
    Row("a scale as a mapping", "scale={'min': 1},  # <-", "scale is a dict", "Scale(min=0, max=3)"),
    Row(
        "more at least than at most", "scale=Scale(min=5, max=2),  # <-", "min=5 is more than max=2", "max=5"
    ),
    Row("no worker at most", "scale=Scale(max=0),  # <-", "max is 0", "from 1"),
    Row("negative workers", "scale=Scale(min=-1),  # <-", "min is -1", "from 0"),
    Row("half a worker", "scale=Scale(max=1.5),  # <-", "max is 1.5", "whole number"),
    Row("yes workers", "scale=Scale(min=True),  # <-", "min is True", "whole number"),
    Row("no concurrency", "scale=Scale(concurrency=0),  # <-", "concurrency is 0", "from 1"),
    Row("a negative queue", "scale=Scale(queue=-1),  # <-", "queue is -1", "from 0"),
    Row("idle without a unit", "scale=Scale(idle='60'),  # <-", "idle is '60'", '"30s"'),
    *(
        Row(f"timeout {value}", f"timeout={value},  # <-", "timeout is", "at most 24h")
        for value in ("0", "-1", "float('nan')", "1e309", "'soon'", "'25h'", "True", "None", "'5 minutes'")
    ),
    Row("a distribution as import", "imports=['scikit-learn'],  # <-", "not a module", "sklearn"),
    Row("a pinned import", "imports=['torch>=2'],  # <-", "not a module", "import"),
    Row("imports as a mapping", "imports={'torch': 1},  # <-", "imports is a dict", '["torch"'),
    Row("env as a list", "env=['A=b'],  # <-", "env is a list", 'env={"NAME"'),
    Row("env with a bad name", "env={'MY-VAR': 'x'},  # <-", "'MY-VAR' is not the name", "letters"),
    Row("env with a number", "env={'N': 1},  # <-", "env/N is a whole number", '"1"'),
    Row("a secret in env", f"env={{'X': '{SECRET}'}},  # <-", "env/X looks like a secret", 'secrets=["X"]'),
    Row("an AWS key in env", "env={'A': 'AKIAIOSFODNN7EXAMPLE'},  # <-", "env/A looks like", "revoke"),
    Row(
        "a secret by its name",
        f"env={{'AWS_SECRET_ACCESS_KEY': '{DENSE}'}},  # <-",
        "env/AWS_SECRET_ACCESS_KEY looks like a secret",
        'secrets=["AWS_SECRET_ACCESS_KEY"]',
    ),
    Row("a value as a secret", f"secrets=['{SECRET}'],  # <-", "value where its name", "revoke"),
    Row("an assignment as a secret", "secrets=['HF_TOKEN=abc'],  # <-", "value where its name", "HF_TOKEN"),
    Row("an OpenAI key", "secrets=['sk-proj-abcdefgh12345678'],  # <-", "value where its name", "revoke"),
    Row("a short key", "secrets=['sk-abc123'],  # <-", "not a secret's name", "capital letters"),
    Row("a name in small letters", "secrets=['hf_token'],  # <-", "not a secret's name", "capital letters"),
    Row("a hex key", f"secrets=['{'0a1b' * 10}'],  # <-", "value where its name", "revoke"),
    Row("a dense key", f"secrets=['{DENSE}'],  # <-", "value where its name", "revoke"),
    Row("secrets by value", f"secrets={{'HF_TOKEN': '{SECRET}'}},  # <-", "secrets is a dict", "HF_TOKEN"),
    Row("a secret's name with spaces", "secrets=['my token'],  # <-", "not a secret's name", "HF_TOKEN"),
    Row("no such target", "overrides={'runpdo': {}},  # <-", "no target 'runpdo'", "Did you mean runpod?"),
    Row("a target like none", "overrides={'moon': {}},  # <-", "no target 'moon'", "local, modal, runpod"),
    Row(
        "settings that are none", "overrides={'modal': 1},  # <-", "overrides/modal is", 'overrides={"modal"'
    ),
    Row(
        "a setting that is no data",
        "overrides={'modal': {'x': object()}},  # <-",
        "overrides/modal/x is an object",
        "strings, numbers",
    ),
    Row(
        "a secret among the settings",
        f"overrides={{'runpod': {{'x': ['{SECRET}']}}}},  # <-",
        "overrides/runpod/x holds a secret",
        "secrets=",
    ),
)

WEIGHTS = (
    Row("weights alone", "weights=Weights.hf('a/b'),  # <-", "weights is a Weights", 'weights={"model"'),
    Row("weights as a list", "weights=[Weights.hf('a/b')],  # <-", "weights is a list", "Weights.hf"),
    Row("a repository as a string", weighed("'f5': 'a/b'"), "weights/f5 is a string", "Weights.hf('a/b')"),
    Row("weights named oddly", weighed("'a b': Weights.hf('a/b')"), "'a b' is not a name", '"f5"'),
    Row(
        "weights that differ in case",
        "weights={\n 'F5': Weights.hf('a/b'),\n 'f5': Weights.hf('a/c'),  # <-\n},",
        "one folder",
        "more than case",
    ),
    Row("hf//", weighed("'m': Weights.hf('hf//SWivid/F5')"), "not a repository", 'Weights.hf("SWivid/F5")'),
    Row("hf:", weighed("'m': Weights.hf('hf:SWivid/F5')"), "not a repository", 'Weights.hf("SWivid/F5")'),
    Row("a double slash", weighed("'m': Weights.hf('hf//x')"), "not a repository", 'Weights.hf("org/name")'),
    Row(
        "a page of the hub",
        weighed("'m': Weights.hf('https://huggingface.co/a/b/tree/v1')"),
        "not a repository",
        'Weights.hf("a/b", revision="v1")',
    ),
    Row("no organisation", weighed("'m': Weights.hf('gpt2')"), "no organisation", 'Weights.hf("org/gpt2")'),
    Row("a revision in the name", weighed("'m': Weights.hf('a/b@v1')"), "not a repo", 'revision="v1"'),
    Row("a repository of spaces", weighed("'m': Weights.hf(' a/b')"), "white space", "pasted newline"),
    Row("no repository", weighed("'m': Weights.hf(None)"), "weights/m is None", "Weights.hf"),
    Row(
        "a commit of 39 digits",
        weighed(f"'m': Weights.hf('a/b', revision='{'a' * 39}')"),
        "40 hex digits, and this has 39",
        "whole commit",
    ),
    Row("a revision with spaces", weighed("'m': Weights.hf('a/b', 'a b')"), "no name of a rev", "a tag"),
    Row(
        "an absolute pattern",
        weighed("'m': Weights.hf('a/b', include=['/etc/*'])"),
        "'/etc/*' leads out",
        "top of the set",
    ),
    Row(
        "a climbing pattern",
        weighed("'m': Weights.hf('a/b', exclude='../*')"),
        "'../*' leads out",
        "top of the set",
    ),
    Row("patterns of numbers", weighed("'m': Weights.hf('a/b', include=3)"), "include is a whole", "*.safe"),
    Row("no such place of weights", weighed("'m': Weights.hf('a/b', place='imag')"), "'imag'", "mean image?"),
    Row("s3 without s3://", weighed("'m': Weights.s3('bucket/x')"), "does not begin", "s3://bucket"),
    Row("s3 with capitals", weighed("'m': Weights.s3('s3://My_B/x')"), "'My_B' is not", "s3://my-b/x"),
    Row("a URL without a scheme", weighed("'m': Weights.url('x.com/a.bin')"), "not an http", "https://x.com"),
    Row("a broken URL", weighed("'m': Weights.url('https://[x/a.bin')"), "not an http", "whole address"),
    Row(
        "a page about a file",
        weighed("'m': Weights.url('https://huggingface.co/a/b/blob/main/x.bin')"),
        "a page about the file",
        "/resolve/main",
    ),
    Row("plain http", weighed("'m': Weights.url('http://x.com/a.bin')"), "plain http", "https://"),
    Row("a URL without a name", weighed("'m': Weights.url('https://x.com/')"), "no file name", "filename="),
    Row(
        "a signed URL",
        weighed("'m': Weights.url('https://x.com/a?X-Amz-Signature=0123456789abcdef')"),
        "holds a key or a signature",
        "plain address",
    ),
    Row(
        "half a digest",
        weighed("'m': Weights.url('https://x.com/a.bin', sha256='abc')"),
        "64 hex digits",
        "sha256sum",
    ),
    Row(
        "a path as a file name",
        weighed("'m': Weights.url('https://x.com/a', filename='a/b.bin')"),
        "a path, not a name",
        "'b.bin'",
    ),
    Row(
        "a key in a query",
        weighed("'m': Weights.url('https://x.io/m.bin?download=1&key=S3CRET')"),
        "holds a key",
        "plain address",
    ),
    Row(
        "an api key in a query",
        weighed("'m': Weights.url('https://x.io/m.bin?Api_Key=S3CRET')"),
        "holds a key",
        "plain address",
    ),
    Row(
        "a path where nothing is",
        weighed("'m': Weights.local('nosuch')"),
        "no file or folder 'nosuch'",
        "Put the files there",
    ),
    Row(
        "a path with a slip in it",
        weighed("'m': Weights.local('ap.py')"),
        "no file or folder 'ap.py'",
        'Did you mean Weights.local("app.py")?',
    ),
    Row("an address as a path", weighed("'m': Weights.local('file:///x')"), "not a path", 'local("/x")'),
    Row(
        "two links to one path",
        "weights={'m': Weights.hf('a/b', links={\n 'A.bin': 'x',\n 'a.bin': 'y',  # <-\n})},",
        "'A.bin' and 'a.bin' write one path",
        "Keep one",
    ),
    Row(
        "two links that NFC makes one",
        "weights={'m': Weights.hf('a/b', links={\n 'e\\u0301': 'x',\n 'é': 'y',  # <-\n})},",
        "write one path",
        "accents",
    ),
    Row(
        "a link inside a link",
        "weights={'m': Weights.hf('a/b', links={\n 'd': 'x',\n 'd/f': 'y',  # <-\n})},",
        "'d' and 'd/f' write one path",
        "Keep one",
    ),
    Row("a link that climbs", weighed("'m': Weights.hf('a/b', links={'../x': 'y'})"), "'../x'", "no `..`"),
    Row("a link to itself", weighed("'m': Weights.hf('a/b', links={'x': 'x'})"), "at itself", "Leave it out"),
    Row(
        "a link to weights nobody knows",
        "weights={'vocos': Weights.hf('a/c'), 'm': Weights.hf('a/b', links={'x': 'voocs/y'})},  # <-",
        "no weights 'voocs'",
        "Did you mean vocos?",
    ),
    Row("links as a list", weighed("'m': Weights.hf('a/b', links=['x'])"), "links is a list", "links={"),
    Row(
        "a pickle by name alone",
        weighed("'m': Weights.hf('a/b', allow_pickle=['x.bin'])"),
        "its digest",
        "@sha256:",
    ),
    Row(
        "weights and no load",
        "weights={'m': Weights.hf('a/b')},  # <-",
        "no @hook.load",
        "takes (self, weights)",
        hooked(""),
    ),
)

IMPORTS_ROWS = (
    Row(
        "a module that is nowhere",
        "imports=['numpyy'],  # <-",
        "no module 'numpyy' here",
        "Did you mean numpy",
    ),
    Row(
        "a module that is nowhere and like none",
        "imports=['qzxv_wjk.inner'],  # <-",
        "no module 'qzxv_wjk.inner' here",
        "Run `pip install qzxv_wjk`.",
    ),
    Row(
        "a slip that the image does not install either",
        "image=Container.python('3.11').pip('numpy'),\nimports=['numpyy'],  # <-",
        "the image installs none of that name",
        "Did you mean numpy",
    ),
)

HOOKS = (
    Row(
        "an unmarked load",
        "",
        "load is not marked",
        "Write @hook.load above it",
        hooked("def load(self): ...  # <-"),
    ),
    Row("setup", "", "setup is not marked", "@hook.load", hooked("def setup(self): ...  # <-")),
    Row("preload", "", "preload is not marked", "@hook.load", hooked("def preload(self): ...  # <-")),
    Row("warm_up", "", "warm_up is not marked", "@hook.warmup", hooked("def warm_up(self): ...  # <-")),
    Row("prewarm", "", "prewarm is not marked", "@hook.warmup", hooked("def prewarm(self): ...  # <-")),
    Row("shutdown", "", "shutdown is not marked", "@hook.close", hooked("def shutdown(self): ...  # <-")),
    Row(
        "an unknown option of a hook",
        "",
        "@hook.load has no option 'requird'",
        "Did you mean required=?",
        hooked("@hook.load(\n    requird=False,  # <-\n)\ndef load(self): ..."),
    ),
    Row(
        "canary where there is none",
        "",
        "has no option 'canary'",
        "Only @hook.warmup",
        hooked("@hook.load(canary=True)  # <-\ndef load(self): ..."),
    ),
    Row(
        "required by word",
        "",
        "load: required is 'yes'",
        "required=True or",
        hooked("@hook.load(required='yes')  # <-\ndef load(self): ..."),
    ),
    Row(
        "required in the background",
        "",
        "a background hook cannot be required",
        "@hook.warmup",
        hooked("@hook.background(required=True)  # <-\ndef tidy(self): ..."),
    ),
    Row(
        "a hook's timeout",
        "",
        "load: timeout is '10'",
        "at most 24h",
        hooked("@hook.load(timeout='10')  # <-\ndef load(self): ..."),
    ),
    Row(
        "a generator hook",
        "",
        "load yields",
        "@hook.close",
        hooked("@hook.load  # <-\ndef load(self):\n    yield"),
    ),
    Row(
        "an async generator hook",
        "",
        "load yields",
        "Return instead",
        hooked("@hook.load  # <-\nasync def load(self):\n    yield"),
    ),
    Row(
        "what no hook is given",
        "",
        "load asks for 'wieghts'",
        "Did you mean weights?",
        hooked("@hook.load  # <-\ndef load(self, wieghts): ..."),
    ),
    Row(
        "what no hook knows",
        "",
        "load asks for 'tokenizer'",
        "weights, device, spec, log",
        hooked("@hook.load  # <-\ndef load(self, tokenizer): ..."),
    ),
    Row(
        "an attribute that hides an endpoint",
        "",
        "load sets self.answer, which hides the @endpoint method",
        "another name",
        hooked("@hook.load\ndef load(self):\n    self.answer = 42  # <-"),
    ),
    Row("no self", "", "load takes no self", "def load(self", hooked("@hook.load  # <-\ndef load(): ...")),
    Row(
        "a build hook on an instance",
        "",
        "there is no instance",
        "@staticmethod",
        hooked("@hook.build  # <-\ndef compile(self): ..."),
    ),
    Row(
        "a build hook without weights",
        "weights={'m': Weights.hf('a/b')},",
        "none are put in the image",
        'place="image"',
        hooked(
            "@hook.load\ndef load(self): ...\n@hook.build  # <-\n@staticmethod\ndef compile(weights): ..."
        ),
    ),
    Row(
        "after nobody",
        "",
        "no @hook.load has that name",
        "Did you mean encoder?",
        hooked("@hook.load\ndef encoder(self): ...\n@hook.load(after='encodr')  # <-\ndef load(self): ..."),
    ),
    Row(
        "after another hook",
        "",
        "which is a @hook.load",
        "fixed order",
        hooked("@hook.load\ndef load(self): ...\n@hook.warmup(after='load')  # <-\ndef warm(self): ..."),
    ),
    Row(
        "after itself",
        "",
        "comes after itself",
        "Leave after= out",
        hooked("@hook.load(after='load')  # <-\ndef load(self): ..."),
    ),
    Row(
        "after a function",
        "",
        "after is a whole number",
        "as a string",
        hooked("@hook.load(after=3)  # <-\ndef load(self): ..."),
    ),
    Row(
        "in a circle",
        "",
        "a after b after a",
        "Take one after= away",
        hooked("@hook.load(after='b')  # <-\ndef a(self): ...\n@hook.load(after='a')\ndef b(self): ..."),
    ),
    Row(
        "CUDA without a GPU",
        "",
        "no GPU is declared",
        'gpu="L4"',
        hooked("@hook.cuda_init  # <-\ndef wake(self): ..."),
    ),
    Row(
        "two marks",
        "",
        "both is marked @hook.load and @hook.warmup",
        "Keep one mark",
        hooked("@hook.load  # <-\n@hook.warmup\ndef both(self): ..."),
    ),
    Row(
        "one name twice",
        "",
        "load is defined twice, lines",
        "another name",
        hooked("@hook.load\ndef load(self): ...\n@hook.load\ndef load(self): ...  # <-"),
    ),
    Row(
        "a mark on a property",
        "",
        "size is marked @endpoint, and is a property",
        "Make it a method",
        hooked("@property\n@endpoint\ndef size(self) -> int: ..."),
        among=True,
    ),
    Row(
        "a mark on a class",
        "",
        "Inner is marked @hook.load, and is a type",
        "`def`",
        hooked("@hook.load\nclass Inner: ..."),
        among=True,
    ),
)

ENDPOINTS = (
    Row(
        "no endpoint", "", "App has no endpoint", "Write @endpoint above speak", "def speak(self): ...  # <-"
    ),
    Row(
        "a reserved name", "", "may not be called health", "another", "@endpoint  # <-\ndef health(self): ..."
    ),
    Row(
        "a private name",
        "",
        "may not be called _speak",
        "leading _",
        "@endpoint  # <-\ndef _speak(self): ...",
    ),
    Row(
        "an argument called endpoint",
        "",
        "an argument called endpoint",
        "name",
        asked("(self, endpoint: str)"),
    ),
    Row("star arguments", "", "takes *texts", "Name each", asked("(self, *texts: str)")),
    Row("named arguments", "", "takes **options", "Name each", asked("(self, **options: str)")),
    Row("positional arguments", "", "positional-only", "Take the /", asked("(self, text: str, /)")),
    Row("an argument without a type", "", "text has no type", "text: str", asked("(self, text)")),
    Row("a default without a type", "", "n has no type", "n: int", asked("(self, n=3)")),
    Row("a list without a type", "", "n has no type", "n: list", asked("(self, n=[])")),
    Row(
        "a default of another type",
        "",
        "default 'fast' is not float",
        "Change",
        asked("(self, n: float='fast')"),
    ),
    Row(
        "a default that is not JSON", "", "cannot be written", "plain", asked("(self, n: float=float('nan'))")
    ),
    Row("an object as a type", "", "App does not cross the wire", "Audio", asked("(self, x: 'App')")),
    Row("bytes", "", "bytes does not cross", "File", asked("(self, x: bytes)")),
    Row("bytes as a result", "", "the result: bytes does not", "File", asked("(self) -> bytes")),
    Row("an unknown type", "", "'Tensor' is not known", "TYPE_CHECKING", asked("(self, x: 'Tensor')")),
    Row(
        "a stream of no stream",
        "",
        "it yields, and is annotated str",
        "Iterator[str]",
        asked("(self) -> str", inside="yield 'a'"),
    ),
    Row(
        "a stream that does not yield",
        "",
        "does not yield",
        "yield from",
        asked("(self) -> 'Iterator[str]'"),
        top="from collections.abc import Iterator",
    ),
    Row(
        "an option of no endpoint",
        "",
        "no option 'requird'",
        "It takes",
        asked("(self)", "@endpoint(requird=1)"),
    ),
    Row("an endpoint's timeout", "", "speak: timeout is 0", "24h", asked("(self)", "@endpoint(timeout=0)")),
    Row("a default by number", "", "speak: default is 1", "True or", asked("(self)", "@endpoint(default=1)")),
    Row(
        "two defaults",
        "",
        "are both the default endpoint",
        "one of them",
        "@endpoint(default=True)\ndef a(self): ...\n@endpoint(default=True)  # <-\ndef b(self): ...",
    ),
)

SURROUNDINGS = (
    Row(
        "HF_HOME after its reader",
        "",
        "HF_HOME is set on line 6, after `import huggingface_hub`",
        "cache directories",
        top="import os\ntry:\n    import huggingface_hub  # <-\nexcept ImportError: ...\n"
        "os.environ['HF_HOME'] = '/x'",
    ),
    Row(
        "OMP_NUM_THREADS after its reader",
        "",
        "OMP_NUM_THREADS is set on line 6",
        "env= of warm_model",
        top="import os\ntry:\n    import numpy  # <-\nexcept ImportError: ...\n"
        "os.environ.setdefault('OMP_NUM_THREADS', '1')",
    ),
    Row(
        "a path of one platform",
        "",
        "'/runpod-volume/x' exists on one platform only",
        'weights["name"].path',
        hooked("def where(self):\n    return '/runpod-volume/x'  # <-"),
    ),
    Row(
        "remote code of a moving revision",
        "weights={'m': Weights.hf('a/b', revision='main')},",
        "whose revision can move",
        "40 hex digits",
        hooked("@hook.load\ndef load(self, weights):\n    dict(trust_remote_code=True)  # <-"),
    ),
    Row(
        "a file named like what it imports",
        "",
        "app.py hides the package 'app' that it imports",
        "Rename the file, such as my_app.py.",
        hooked("@hook.load\ndef load(self):\n    from app.inner import Pipeline  # <-"),
    ),
    Row(
        "arguments to construct it",
        "",
        "App() needs size",
        "@hook.load",
        hooked("def __init__(self, size): ..."),
        among=True,
    ),
)

ROWS = (*OPTIONS, *WEIGHTS, *IMPORTS_ROWS, *HOOKS, *ENDPOINTS, *SURROUNDINGS)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.id)
def test_a_mistake_is_named_with_its_line_and_its_mend(project: Project, row: Row) -> None:
    path = project.write(row.options, row.body, row.top)

    found = problems(entry.load(str(path)))

    problem = _the_one(found, row)
    assert row.fix in problem.fix
    assert row.among or problem.where == f"app.py:{_marked_line(path)}"
    told = " ".join(f"{one.message} {one.fix} {one.where}" for one in found)
    assert not any(secret in told for secret in (SECRET, DENSE, "AKIAIOSFODNN7EXAMPLE", "pa55word"))


def _the_one(found: tuple[Problem, ...], row: Row) -> Problem:
    fitting = [problem for problem in found if row.message in problem.message]
    assert len(fitting) == 1, found
    assert row.among or len(found) == 1, found
    return fitting[0]


def _marked_line(path: Path) -> int:
    lines = path.read_text(encoding="utf-8").splitlines()
    return next(number for number, line in enumerate(lines, start=1) if "# <-" in line)


def test_every_mistake_is_told_at_once_in_the_order_of_the_lines(project: Project) -> None:
    path = project.write(
        "name='Bad Name',\ngpu='H1000',\nweights={'m': Weights.hf('hf//x')},\nsecrets=['a=b'],\ntimeout=0,",
        "@hook.load(requird=1)\ndef load(self, thing): ...\n@endpoint\ndef ready(self, x): ...",
    )

    found = problems(entry.load(str(path)))

    lines = [int((problem.where or "").rpartition(":")[2]) for problem in found]
    assert len(found) == 9
    assert lines == sorted(lines)
    assert all(problem.fix for problem in found)


def test_a_function_cannot_be_declared(project: Project) -> None:
    path = project.write_text("from coldstart_sdk import warm_model\n@warm_model\ndef speak(): ...\n")

    with pytest.raises(ColdstartError) as caught:
        entry.load(str(path))

    assert "marks a class" in caught.value.message
    assert "Decorate a class" in caught.value.fix
    assert caught.value.where == "app.py:2"


def test_an_unknown_hook_is_named_with_the_nearest(project: Project) -> None:
    path = project.write(body="@hook.warm_up\ndef warm(self): ...")

    with pytest.raises(ColdstartError) as caught:
        entry.load(str(path))

    assert (caught.value.message, caught.value.fix) == (
        "there is no hook.warm_up",
        "Did you mean hook.warmup?",
    )
    assert (caught.value.where or "").startswith("app.py:")


ODD = (
    "[]",
    "{}",
    "()",
    "set()",
    "object()",
    "int",
    "b'x'",
    "[None]",
    "[[1]]",
    "{1: 2}",
    "{'a': None}",
    "-1",
    "'\\0'",
)


@pytest.mark.parametrize("value", ODD)
def test_an_odd_value_is_a_mistake_and_never_a_crash(project: Project, value: str) -> None:
    of_weights = {
        name: f"{{'m': Weights.url('https://x/y', {name}={value})}}"
        if name in {"filename", "sha256"}
        else f"{{'m': Weights.hf('a/b', {name}={value})}}"
        for name in ("include", "links", "allow_pickle", "revision", "filename", "sha256", "place")
    }
    written = {
        **{name: f"{name}={value}," for name in KNOWN},
        **{name: f"weights={text}," for name, text in of_weights.items()},
        "source": f"weights={{'m': Weights.hf({value})}},",
        "in weights": f"weights={{'m': {value}}},",
        "scale's": f"scale=Scale(min={value}, idle={value}),",
        "volume's": f"volume=Volume({value}, size={value}, region={value}),",
        "image's": f"image=Container.python({value}).base({value}).apt({value}).pip({value}).run({value}),",
        "files": f"image=Container.python('3.11').copy({value}, {value}).env(A={value}),",
        "settings": f"overrides={{'modal': {value}}},",
    }
    for number, options in enumerate(written.values()):
        path = project.write(options, name=f"odd_{number}.py")

        found = problems(entry.load(str(path)))

        assert all(problem.message and problem.fix and problem.where for problem in found)


@pytest.mark.parametrize("value", ODD)
def test_an_odd_value_on_a_mark_is_a_mistake_and_never_a_crash(project: Project, value: str) -> None:
    path = project.write(
        body=f"@hook.load(after={value}, timeout={value}, required={value})\ndef load(self): ...\n"
        f"@endpoint(default={value}, timeout={value})\ndef speak(self, text: str = {value}) -> str: ...\n"
        f"@endpoint\ndef odd(self, text: {value}): ...\n"
    )

    found = problems(entry.load(str(path)))

    assert len(found) > 3
