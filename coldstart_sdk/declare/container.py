"""Read `image=`: the calls of a `Container`, gathered by what they install."""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from coldstart_sdk.declare import secret
from coldstart_sdk.declare.findings import Findings, kind
from coldstart_sdk.declare.values import Container
from coldstart_sdk.entry import INSTALLED_AS
from coldstart_sdk.spec import ContainerSpec, RunCommand

VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_PYTHON = re.compile(r"3\.(?:10|11|12|13)(?:\.\d+)?")
_IMAGE = r"[a-z0-9._-]+(?::\d+(?=/))?(?:/[a-z0-9._-]+)*"
_PIN = r"(?::[\w.-]+(?:@sha256:[0-9a-f]{64})?|@sha256:[0-9a-f]{64})"
_PACKAGE = re.compile(r"[a-z0-9][a-z0-9.+-]+(?:=[^\s;|&$`]+)?")


def read(value: object, found: Findings) -> ContainerSpec:
    if value is None:
        return ContainerSpec()
    if not isinstance(value, Container):
        found.on_option(
            f"image is {kind(value)}, not a Container",
            "image",
            fix=f'Write image=Container.base("{value}").'
            if isinstance(value, str) and ":" in value
            else 'Write image=Container.python("3.11").pip(…); Image is the media type.',
        )
        return ContainerSpec()
    starts = [(method, arguments[0]) for method, arguments in value.calls if method in {"python", "base"}]
    if len(starts) != 1:
        found.on_option(
            f"the image starts {len(starts)} times",
            "image",
            *([starts[-1][0]] if starts else []),
            fix='Start once, with Container.python("3.11") or with Container.base("name:tag").',
        )
    first = dict(starts)
    return ContainerSpec(
        python=_python(first["python"], found) if "python" in first else None,
        base=_base(first["base"], found) if "base" in first else None,
        apt=_packages(value, found),
        pip=_requirements(value, found),
        run=_commands(value, found),
        env=_env(value, found),
        files=_files(value, found),
    )


def brings(image: Container) -> bool:
    """Whether it has modules of its own, which this machine need not have."""
    return any(name in {"base", "pip", "run"} for name, _ in image.calls)


def names(image: object, module: str) -> bool:
    """Whether it installs a distribution that is called as the module, or as the module's is known to be."""
    if not isinstance(image, Container):
        return False
    top = module.partition(".")[0]
    wanted = {_distribution(top), _distribution(INSTALLED_AS.get(top, top))}
    installed = [item for name, given in image.calls if name == "pip" for item in given]
    return any(isinstance(item, str) and _distribution(item) in wanted for item in installed)


def _distribution(requirement: str) -> str:
    """The one spelling of a distribution's name: `F5_tts==1.1` → `f5-tts`."""
    bare = re.match(r"[A-Za-z0-9._-]*", requirement)
    return re.sub(r"[-_.]+", "-", bare[0] if bare else "").lower()


def environment(pairs: object, found: Findings, *keys: str) -> dict[str, str]:
    """Names and values that anyone may read; a secret among them is refused, and not shown."""
    env: dict[str, str] = {}
    for name, value in pairs if isinstance(pairs, list | tuple) else ():
        if not isinstance(name, str) or not VARIABLE.fullmatch(name):
            found.on_option(
                f"{name!r:.60} is not the name of a variable"
                if not (isinstance(name, str) and secret.is_value(name))
                else "a secret's value stands where a variable's name belongs",
                *keys,
                str(name),
                fix='Use letters, digits and "_", not beginning with a digit.',
            )
        elif not isinstance(value, str):
            found.on_option(
                f"{'/'.join(keys)}/{name} is {kind(value)}, not a string",
                *keys,
                name,
                fix=f'Write it as a string: "{str(value).lower()}".'
                if isinstance(value, bool | int | float)
                else "Write it as a string.",
            )
        elif secret.is_value_of(name, value):
            found.on_option(
                f"{'/'.join(keys)}/{name} looks like a secret, and would be readable in the bundle",
                *keys,
                name,
                fix=f'Take it out, revoke it if it was shared, and write secrets=["{name}"].',
            )
        elif "\0" in value:
            found.on_option(f"{'/'.join(keys)}/{name} holds a NUL", *keys, name, fix="Take it out.")
        else:
            env[name] = value
    return env


def _python(version: object, found: Findings) -> str | None:
    if isinstance(version, str) and _PYTHON.fullmatch(version):
        return version
    found.on_option(
        f"Container.python: {version!r} is not a Python that coldstart runs on",
        "image",
        "python",
        fix='Write "3.10", "3.11", "3.12" or "3.13", as a string: the number 3.10 is 3.1.',
    )
    return None


def _base(image: object, found: Findings) -> str | None:
    text = found.text(image, "image", "base", example='Container.base("name:tag")')
    if text and not re.fullmatch(_IMAGE + _PIN, text):
        tagless = re.fullmatch(_IMAGE, text)
        found.on_option(
            f"Container.base: {text!r} " + ("names no tag" if tagless else "is not an image"),
            "image",
            "base",
            fix=f'Pin it: Container.base("{text}:<tag>").'
            if tagless
            else 'Write Container.base("registry/name:tag"), in lower case.',
        )
    return text


def _packages(value: Container, found: Findings) -> tuple[str, ...]:
    packages = _arguments(value, "apt", found, example='.apt("ffmpeg")')
    for package in packages:
        if not _PACKAGE.fullmatch(package):
            found.on_option(
                f".apt: {package!r} is not one Debian package",
                "image",
                "apt",
                fix=f"Write .apt({', '.join(map(repr, package.split()))}).",
            )
    return packages


def _requirements(value: Container, found: Findings) -> tuple[str, ...]:
    requirements = _arguments(value, "pip", found, example='.pip("torch==2.5.1")')
    for requirement in requirements:
        if requirement.startswith("-"):
            found.on_option(
                f".pip: {requirement!r} is an option of pip, not a requirement",
                "image",
                "pip",
                fix='Write the whole command: .run("pip install --index-url … torch").',
            )
    return requirements


def _arguments(value: Container, method: str, found: Findings, *, example: str) -> tuple[str, ...]:
    arguments = [item for name, given in value.calls if name == method for item in given]
    read: list[str] = []
    for argument in arguments:
        if isinstance(argument, list | tuple):
            found.on_option(
                f".{method} was given {kind(argument)}",
                "image",
                method,
                fix=f"Write {example}, one argument each.",
            )
        elif isinstance(argument, str) and secret.holds_key(argument):
            _refuse_secret(method, found)
        elif (text := found.text(argument, "image", method, example=example)) is not None:
            read.append(text)
    return tuple(read)


def _commands(value: Container, found: Findings) -> tuple[RunCommand, ...]:
    commands: list[RunCommand] = []
    for name, (command, gpu) in ((name, given) for name, given in value.calls if name == "run"):
        if not isinstance(command, str) or not command.strip() or "\0" in command:
            found.on_option(
                f".{name}: {command!r:.60} is not a command", "image", name, fix='Write .run("make install").'
            )
        elif secret.holds_key(command):
            _refuse_secret(name, found)
        elif not isinstance(gpu, bool):
            found.on_option(f".run: gpu is {gpu!r:.40}", "image", name, fix="Write gpu=True or leave it out.")
        else:
            commands.append(RunCommand(command=command.strip(), gpu=gpu))
    return tuple(commands)


def _env(value: Container, found: Findings) -> dict[str, str]:
    pairs = [pair for name, given in value.calls if name == "env" for pair in given]
    return environment(pairs, found, "image", "env")


def _files(value: Container, found: Findings) -> tuple[tuple[str, str], ...]:
    files: list[tuple[str, str]] = []
    for source, target in (given for name, given in value.calls if name == "copy"):
        example = '.copy("voices", "/app/voices")'
        texts = [found.text(text, "image", "copy", example=example) for text in (source, target)]
        if texts[0] is None or texts[1] is None:
            continue
        path = PurePosixPath(texts[0])
        if path.is_absolute() or ".." in path.parts or "\\" in texts[0] or texts[0].startswith("~"):
            found.on_option(
                f".copy: {texts[0]!r} does not lie beside the declaration",
                "image",
                "copy",
                fix=f"Move it into the project's folder: {example}.",
            )
        elif ".." in PurePosixPath(texts[1]).parts:
            found.on_option(f".copy: {texts[1]!r} climbs out", "image", "copy", fix=f"Write {example}.")
        else:
            files.append((path.as_posix(), texts[1]))
    return tuple(files)


def _refuse_secret(method: str, found: Findings) -> None:
    found.on_option(
        f".{method} holds a secret, which would stay in the image",
        "image",
        method,
        fix="Take it out, revoke it if it was shared, and put its name in secrets=.",
    )
