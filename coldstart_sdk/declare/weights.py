"""Read `weights=`: where each set comes from, which of its files, and under which other names."""

from __future__ import annotations

import os
import re
import unicodedata
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath

from coldstart_sdk.declare import addresses, secret
from coldstart_sdk.declare.findings import Findings, did_you_mean, kind
from coldstart_sdk.declare.values import Weights
from coldstart_sdk.spec import Origin, Place, WeightSpec

EXAMPLE = 'weights={"model": Weights.hf("org/name")}'
COMMIT_DIGITS = 40
SHA256_DIGITS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_REPO = re.compile(
    r"(?=[^/]{1,96}/[^/]{1,96}$)[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?/[A-Za-z0-9_](?:[\w.-]*\w)?"
)
_REVISION = re.compile(r"(?!.*\.\.)[^\s~^:?*\[\\]+")
_LOOPBACK = {"localhost", "127.0.0.1", "::1"}


def read(value: object, found: Findings) -> dict[str, WeightSpec]:
    if value is None:
        return {}
    if not isinstance(value, Mapping):
        found.on_option(
            f"weights is {kind(value)}, not a mapping of names", "weights", fix=f"Write {EXAMPLE}."
        )
        return {}
    read_: dict[str, WeightSpec] = {}
    for name, item in value.items():
        if _check_name(name, tuple(read_), found) and (spec := _read_one(name, item, found)):
            read_[name] = spec
    for name, spec in read_.items():
        _check_links(name, spec, tuple(map(str, value)), found)
    return read_


def _check_name(name: object, before: Sequence[str], found: Findings) -> bool:
    if not isinstance(name, str) or not _NAME.fullmatch(name) or name.endswith("."):
        found.on_option(
            f"weights: {name!r} is not a name",
            "weights",
            str(name),
            fix='Use letters, digits, "-", "_" and ".", as in weights={"f5": …}.',
        )
        return False
    if twin := next((other for other in before if other.lower() == name.lower()), None):
        found.on_option(
            f"weights: {twin!r} and {name!r} are one folder on disks that ignore case",
            "weights",
            name,
            fix="Give them names that differ in more than case.",
        )
        return False
    return True


def _read_one(name: str, value: object, found: Findings) -> WeightSpec | None:
    if not isinstance(value, Weights):
        hint = f"Weights.hf({value!r})" if isinstance(value, str) else 'Weights.hf("org/name")'
        found.on_option(
            f"weights/{name} is {kind(value)}, not Weights",
            "weights",
            name,
            fix=f'Write "{name}": {hint}, or Weights.s3, .url or .local.'
            if not isinstance(value, str) or not secret.holds_key(value)
            else "Write one of Weights.hf, .s3, .url and .local.",
        )
        return None
    reader = _Reader(name, value, found)
    return WeightSpec(
        origin=value.origin,
        source=reader.source(),
        revision=reader.revision(),
        include=reader.patterns("include"),
        exclude=reader.patterns("exclude"),
        sha256=reader.sha256(),
        filename=reader.filename(),
        links=reader.links(),
        place=None if value.place is None else found.choice(value.place, Place, *reader.keys, "place"),
        allow_pickle=reader.allow_pickle(),
    )


class _Reader:
    """One set of weights, argument by argument."""

    def __init__(self, name: str, value: Weights, found: Findings) -> None:
        self.keys = ("weights", name)
        self.value = value
        self.found = found

    def wrong(self, message: str, *keys: str, fix: str) -> None:
        self.found.on_option(f"{'/'.join((*self.keys, *keys))}: {message}", *self.keys, *keys, fix=fix)

    def source(self) -> str:
        origin = self.value.origin
        example = {
            Origin.HF: 'Weights.hf("org/name")',
            Origin.S3: 'Weights.s3("s3://bucket/prefix")',
            Origin.URL: 'Weights.url("https://host/file.safetensors")',
            Origin.LOCAL: 'Weights.local("folder")',
        }[origin]
        written: object = self.value.source
        if isinstance(written, str) and secret.holds_key(written):
            self.wrong(
                "the address holds a key or a signature, which would be written into every bundle",
                fix="Give the plain address; put the credential's name in secrets=.",
            )
            return ""
        text = self.found.text(written, *self.keys, example=example)
        if text is None:
            return ""
        check = {
            Origin.HF: self._check_repo,
            Origin.S3: self._check_s3,
            Origin.URL: self._check_url,
            Origin.LOCAL: self._check_local,
        }[origin]
        check(text)
        return text

    def _check_repo(self, repo: str) -> None:
        if _REPO.fullmatch(repo) and "--" not in repo and ".." not in repo:
            return
        fix = _repo_meant(repo)
        if "/" not in repo:
            self.wrong(
                f"{repo!r} has no organisation",
                fix=f'Write Weights.hf("org/{repo}"), as the top of its page on the hub shows it.',
            )
        else:
            self.wrong(
                f"{repo!r} is not a repository of the hub",
                fix=f"Write {fix}." if fix else 'Write Weights.hf("org/name").',
            )

    def _check_s3(self, url: str) -> None:
        example = 'Weights.s3("s3://bucket/prefix")'
        if url.startswith("s3://"):
            addresses.check_bucket(url, self.keys, self.found, example=example)
        else:
            self.wrong(f"{url!r} does not begin with s3://", fix=f"Write {example}.")

    def _check_url(self, url: str) -> None:
        parts = addresses.split(url)
        if parts is None or parts.scheme not in {"http", "https"} or not parts.hostname:
            bare = "" if "://" in url else f', such as "https://{url.lstrip("/")}"'
            self.wrong(f"{url!r} is not an http or https address", fix=f"Write the whole address{bare}.")
            return
        if parts.hostname in {"huggingface.co", "github.com"} and "/blob/" in parts.path:
            better = "/resolve/" if parts.hostname == "huggingface.co" else "/raw/"
            self.wrong(
                "this address shows a page about the file",
                fix=f"Write {url.replace('/blob/', better)!r}.",
            )
        elif parts.scheme == "http" and not self.value.sha256 and parts.hostname not in _LOOPBACK:
            self.wrong("plain http without a sha256 may bring anything", fix="Use https://, or give sha256=.")
        elif not self.value.filename and not PurePosixPath(parts.path).name:
            self.wrong("the address ends in no file name", fix='Give filename="model.safetensors".')

    def _check_local(self, path: str) -> None:
        if "://" in path:
            self.wrong(
                f"{path!r} is an address, not a path",
                fix=f'Write Weights.local("{path.partition("://")[2]}").'
                if path.startswith("file://")
                else "Use Weights.s3 or Weights.url for it.",
            )
        elif (declared := self.found.source.path) is not None:
            self._check_is_there(path, declared.parent / os.path.expanduser(path))  # noqa: PTH111 - never raises

    def _check_is_there(self, path: str, root: Path) -> None:
        if os.path.lexists(root):
            return
        near = did_you_mean(root.name, _beside(root), form=f'Weights.local("{{}}"){_within(path)}')
        self.wrong(
            f"there is no file or folder {path!r}",
            fix=near or f"Put the files there, relative to the declaration, or name where they are: {root}.",
        )

    def revision(self) -> str | None:
        if self.value.revision is None:
            return None
        example = 'revision="main", a tag, or a commit of 40 hex digits'
        text = self.found.text(self.value.revision, *self.keys, "revision", example=example)
        if text is None:
            return None
        if re.fullmatch(r"[0-9a-fA-F]{20,}", text) and len(text) != COMMIT_DIGITS:
            self.wrong(
                f"a commit has {COMMIT_DIGITS} hex digits, and this has {len(text)}",
                "revision",
                fix="Copy the whole commit from the repository's history.",
            )
        elif not _REVISION.fullmatch(text):
            self.wrong(f"{text!r} is no name of a revision", "revision", fix=f"Write {example}.")
        return text

    def patterns(self, which: str) -> tuple[str, ...]:
        texts = self.found.texts(
            getattr(self.value, which), *self.keys, which, example=f'{which}=["*.safetensors"]'
        )
        for text in texts:
            if not _inside(text):
                self.wrong(
                    f"the pattern {text!r} leads out of the set",
                    which,
                    fix='Write it from the top of the set, with "/": "folder/*.safetensors".',
                )
        return texts

    def sha256(self) -> str | None:
        if self.value.sha256 is None:
            return None
        text = self.found.text(self.value.sha256, *self.keys, "sha256", example=f"{SHA256_DIGITS} hex digits")
        digits = (text or "").lower().removeprefix("sha256:")
        if text and not re.fullmatch(rf"[0-9a-f]{{{SHA256_DIGITS}}}", digits):
            self.wrong(
                f"a sha256 has {SHA256_DIGITS} hex digits, and this has {len(digits)} characters",
                "sha256",
                fix="Copy what `sha256sum FILE` prints.",
            )
        return digits or None

    def filename(self) -> str | None:
        if self.value.filename is None:
            return None
        text = self.found.text(
            self.value.filename, *self.keys, "filename", example='filename="lora.safetensors"'
        )
        if text and ("/" in text or "\\" in text or text in {".", ".."}):
            self.wrong(
                f"{text!r} is a path, not a name", "filename", fix=f"Write {PurePosixPath(text).name!r}."
            )
        return text

    def links(self) -> dict[str, str]:
        value: object = self.value.links
        if value is None:
            return {}
        example = 'links={"extra/name.bin": "other_weight/file.bin"}'
        if not isinstance(value, Mapping):
            self.wrong(f"links is {kind(value)}, not a mapping", "links", fix=f"Write {example}.")
            return {}
        links: dict[str, str] = {}
        for name, target in value.items():
            if not all(isinstance(text, str) and text and _inside(text) for text in (name, target)):
                self.wrong(
                    f"the link {name!r} → {target!r} is not between two paths in the weights",
                    "links",
                    str(name),
                    fix=f"Write {example}, with no leading slash and no `..`.",
                )
            else:
                links[name] = target
        return links

    def allow_pickle(self) -> tuple[str, ...]:
        example = 'allow_pickle=["model.bin@sha256:<64 hex digits>"]'
        texts = self.found.texts(self.value.allow_pickle, *self.keys, "allow_pickle", example=example)
        for text in texts:
            path, _, digest = text.rpartition("@")
            if not path or not _inside(path) or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
                self.wrong(
                    f"{text!r} does not name one file and its digest",
                    "allow_pickle",
                    fix=f"A pickle runs code, so it is allowed by content: {example}.",
                )
        return texts


def _beside(root: Path) -> list[str]:
    """What stands in the folder in which a path should have been."""
    try:
        return [entry.name for entry in root.parent.iterdir()]
    except OSError:
        return []


def _within(path: str) -> str:
    folder = PurePosixPath(path).parent.as_posix()
    return "" if folder == "." else f" in {folder}"


def _check_links(name: str, spec: WeightSpec, weights: tuple[str, ...], found: Findings) -> None:
    keys = ("weights", name, "links")
    taken: dict[str, str] = {}
    for link, target in spec.links.items():
        folded = _folded(link)
        if twin := next((other for path, other in taken.items() if _overlap(path, folded)), None):
            found.on_option(
                f"{'/'.join(keys)}: {twin!r} and {link!r} write one path",
                *keys,
                link,
                fix="Keep one of them; case and accents do not tell files apart on every disk.",
            )
        taken[folded] = link
        first = target.partition("/")[0]
        if _folded(target) == folded:
            found.on_option(
                f"{'/'.join(keys)}: {link!r} points at itself",
                *keys,
                link,
                fix="Leave it out, or name its target.",
            )
        elif first not in weights and (near := did_you_mean(first, weights, cutoff=0.75)):
            found.on_option(f"{'/'.join(keys)}: there are no weights {first!r}", *keys, link, fix=near)


def _repo_meant(text: str) -> str | None:
    """The right form of what was probably meant."""
    bare = re.sub(r"^(?:https?:/+(?:www\.)?(?:huggingface\.co|hf\.co)/+|hf:/*|hf/{2,})", "", text)
    bare = re.sub(r"/{2,}", "/", bare).strip("/").removeprefix("models/")
    bare, _, revision = bare.partition("@")
    org, _, rest = bare.partition("/")
    name, *tail = rest.split("/")
    if len(tail) > 1 and tail[0] in {"tree", "blob", "resolve"}:
        revision = tail[1]
    elif tail:
        return None
    if not _REPO.fullmatch(f"{org}/{name}"):
        return None
    return f'Weights.hf("{org}/{name}"' + (f', revision="{revision}")' if revision else ")")


def _inside(path: str) -> bool:
    """Whether a relative path or pattern stays where it starts, on every system."""
    parts = path.split("/")
    return (
        "\\" not in path
        and not re.match(r"[A-Za-z]:", path)
        and not path.startswith("/")
        and not any(part in {"..", "."} for part in parts)
        and "" not in parts[:-1]
        and path.isprintable()
    )


def _folded(path: str) -> str:
    return unicodedata.normalize("NFC", path.strip("/")).casefold()


def _overlap(one: str, other: str) -> bool:
    """Whether two paths are one, or one lies inside the other."""
    return one == other or one.startswith(other + "/") or other.startswith(one + "/")
