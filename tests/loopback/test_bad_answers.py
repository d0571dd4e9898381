"""Bad answers of stores, hubs and origins, and bad files in their places: one table each.

Whatever comes, it is a StorageError with its fix or a good set, never a traceback; what was here stays here;
and none of the planted secrets is in an error, an event or a file.
"""

from __future__ import annotations

import hashlib
import json
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TypeAlias

import pytest

from coldstart_sdk import record
from coldstart_sdk.errors import StorageError
from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import layout
from coldstart_sdk.storage.sync import ref_of
from coldstart_sdk.storage.tiers import StoreTier, store_below
from tests.syncing import Syncing, sha256

CANARIES = ("hf_CANARYcanaryCANARY", "CANARYsecretCANARY", "CANARYsignature", "CANARYpassword")
DATA = b"weights" * 300
MODEL = "model.bin"
COMMIT = "c" * 40
XML = {"Content-Type": "application/xml"}
PAGE = b"<!DOCTYPE html><html><title>Sign in</title></html>"


@dataclass(frozen=True, kw_only=True)
class Said:
    """One answer."""

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    """What Content-Length says, where it lies."""


Answers: TypeAlias = Callable[[str], Said]
"""From the target of a request, query included."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    answers: Answers
    asked: list[str]


class _Handler(BaseHTTPRequestHandler):
    """Says what the test has it say, as no real server would."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        server = self.server
        assert isinstance(server, _Server)
        server.asked.append(self.path)
        said = server.answers(self.path)
        self.send_response(said.status)
        for name, value in said.headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said.body) if said.length is None else said.length))
        self.end_headers()
        if self.command != "HEAD":
            with suppress(OSError):
                self.wfile.write(said.body)
        if said.length not in {None, len(said.body)}:
            self.close_connection = True

    do_HEAD = do_POST = do_GET  # noqa: N815 - named by the standard library

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[_Server]:
    with _Server(("127.0.0.1", 0), _Handler) as running:
        running.asked = []
        thread = threading.Thread(target=running.serve_forever, args=(0.02,))
        thread.start()
        yield running
        running.shutdown()
        thread.join()


@pytest.fixture
def here(server: _Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Syncing:
    monkeypatch.setattr("coldstart_sdk.storage.retry.FIRST_DELAY_S", 0.0001)
    address = f"http://127.0.0.1:{server.server_port}"
    for name, value in {
        "HF_ENDPOINT": address,
        "HF_TOKEN": CANARIES[0],
        "AWS_ENDPOINT_URL": address,
        "AWS_ACCESS_KEY_ID": "AKIAEXAMPLEEXAMPLE00",
        "AWS_SECRET_ACCESS_KEY": CANARIES[1],
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    return Syncing(home=tmp_path / "home", project=tmp_path)


def _refused(here: Syncing, weight: WeightSpec, message: str) -> StorageError:
    """It is an error that says this and a fix; and nothing of the attempt is left."""
    with pytest.raises(StorageError, match=message) as refused:
        here.run(weight)

    assert refused.value.fix
    assert here.blobs() == set()
    _no_canary(here, refused.value)
    return refused.value


def _no_canary(here: Syncing, *told: object) -> None:
    said = " ".join(map(repr, (*here.events, *told))) + " ".join(
        f"{error} {error.where} {error.fix}" for error in told if isinstance(error, StorageError)
    )
    files = [path for path in here.home.rglob("*") if path.is_file()]
    for canary in CANARIES:
        assert canary not in said
        assert [path for path in files if canary.encode() in path.read_bytes() or canary in path.name] == []


# ---- S3


def _listed(*items: str, extra: str = "<IsTruncated>false</IsTruncated>") -> Said:
    body = f"<?xml version='1.0'?><ListBucketResult>{extra}{''.join(items)}</ListBucketResult>"
    return Said(body=body.encode(), headers=XML)


def _item(key: str, *, size: object = len(DATA), etag: str | None = '"1"') -> str:
    told = "" if etag is None else f"<ETag>{etag}</ETag>"
    return f"<Contents><Key>{key}</Key><Size>{size}</Size>{told}</Contents>"


def _error(status: int, code: str, more: str = "") -> Said:
    return Said(status=status, body=f"<Error><Code>{code}</Code>{more}</Error>".encode(), headers=XML)


GOOD_LIST = _listed(_item(f"tree/{MODEL}"))
GOOD_FILE = Said(body=DATA, headers={"ETag": '"1"'})
LAUGHS = b"<!DOCTYPE l [<!ENTITY a0 'ha'>%s]><ListBucketResult>&a30;</ListBucketResult>" % b"".join(
    b"<!ENTITY a%d '&a%d;&a%d;'>" % (n, n - 1, n - 1) for n in range(1, 31)
)
LISTS: dict[str, tuple[Said, str]] = {
    "not XML": (Said(body=b"nonsense"), "not XML|cannot be reached|no answer"),
    "a page": (Said(body=PAGE), "is not S3"),
    "nothing": (Said(), "not XML|cannot be reached"),
    "half": (Said(body=GOOD_LIST.body[:60], headers=XML), "not XML|cannot be reached"),
    "entities without end": (
        Said(body=LAUGHS, headers=XML),
        "not XML|cannot be reached|has no files|nothing",
    ),
    "an error under 200": (_error(200, "InternalError"), "InternalError|cannot be reached"),
    "cut by its own length": (replace(GOOD_LIST, length=5000), "cannot be reached|no answer|ended early"),
    "the same page for ever": (
        _listed(
            _item("tree/a"),
            extra="<IsTruncated>true</IsTruncated><NextContinuationToken>t</NextContinuationToken>",
        ),
        "cut its listing short",
    ),
    "cut without a token": (
        _listed(_item("tree/a"), extra="<IsTruncated>true</IsTruncated>"),
        "cut its listing short",
    ),
    "a size that is no number": (_listed(_item(f"tree/{MODEL}", size="many")), "is not S3: a size"),
    "a negative size": (_listed(_item(f"tree/{MODEL}", size=-1)), "is not S3: a size"),
    "no keys": (_listed(), "no file at the origin"),
    "keys beside the prefix": (
        _listed(_item("tree-old/x"), _item("treehouse")),
        "no file at the origin",
    ),
    "folders alone": (_listed(_item("tree/", size=0)), "no file at the origin"),
    "a way out": (_listed(_item("tree/../../etc/passwd")), r"'\.\.' part"),
    "an absolute name": (_listed(_item("tree//etc/passwd")), "absolute|empty part"),
    "twins by case": (_listed(_item("tree/A.bin"), _item("tree/a.bin")), "same|apart|one"),
    "a line feed in a name": (_listed(_item("tree/a&#10;b")), "control character"),
    "no right to list": (_error(403, "AccessDenied"), "403 AccessDenied"),
    "no such bucket": (_error(404, "NoSuchBucket"), "bucket|404"),
    "an unknown key id": (_error(403, "InvalidAccessKeyId"), "403 InvalidAccessKeyId"),
    "a wrong signature": (
        _error(403, "SignatureDoesNotMatch", f"<StringToSign>{CANARIES[2]}</StringToSign>"),
        "SignatureDoesNotMatch",
    ),
    "clocks apart": (_error(403, "RequestTimeTooSkewed"), "clock|RequestTimeTooSkewed"),
    "another region": (
        _error(301, "PermanentRedirect", "<Region>eu-west-9</Region>"),
        "301|region|eu-west-9",
    ),
    "slow down, for a day": (
        Said(status=503, headers={"Retry-After": "86400"}, body=b""),
        "503|cannot be reached",
    ),
}


@pytest.mark.parametrize("row", LISTS)
def test_a_bad_list_of_a_store_is_refused(row: str, server: _Server, here: Syncing) -> None:
    said, message = LISTS[row]
    server.answers = lambda target: said if "list-type" in target else GOOD_FILE

    _refused(here, WeightSpec(origin=Origin.S3, source="s3://bucket/tree"), f"(?i){message}")

    assert len(server.asked) < 40


OBJECTS: dict[str, tuple[Said, str]] = {
    "shorter than it says": (replace(GOOD_FILE, length=len(DATA) + 5), "ended early"),
    "shorter, and says so": (replace(GOOD_FILE, body=DATA[:-1]), "bytes came where|ended early"),
    "longer": (replace(GOOD_FILE, body=DATA + b"x"), "bytes came where"),
    "compressed": (
        replace(GOOD_FILE, headers={"ETag": '"1"', "Content-Encoding": "gzip"}),
        "encoded",
    ),
    "another object": (replace(GOOD_FILE, headers={"ETag": '"2"'}), "changes at the origin"),
    "a range that nobody asked for": (Said(status=206, body=DATA, headers={"ETag": '"1"'}), "206"),
    "no right to read": (_error(403, "AccessDenied"), "refuses"),
    "gone": (_error(404, "NoSuchKey"), "404"),
    "to nowhere": (Said(status=302), "redirect"),
    "round and round": (
        Said(status=302, headers={"Location": f"/bucket/tree/{MODEL}"}),
        "redirects more than",
    ),
    "to a file": (Said(status=302, headers={"Location": "file:///etc/passwd"}), "not an http"),
    "retry after a date long past": (
        Said(status=429, headers={"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        "429",
    ),
    "retry after soon": (Said(status=503, headers={"Retry-After": "soon"}), "503"),
    "retry after minus one": (Said(status=503, headers={"Retry-After": "-1"}), "503"),
    "a broken status": (Said(status=599), "599"),
}


@pytest.mark.parametrize("row", OBJECTS)
def test_a_bad_object_of_a_store_is_refused(row: str, server: _Server, here: Syncing) -> None:
    said, message = OBJECTS[row]
    server.answers = lambda target: GOOD_LIST if "list-type" in target else said

    _refused(here, WeightSpec(origin=Origin.S3, source="s3://bucket/tree"), f"(?i){message}")

    assert len(server.asked) < 40
    assert here.leftovers() == set()


@pytest.mark.parametrize("etag", [None, '"d41d8cd98f00b204e9800998ecf8427e"', 'W/"1"', '"abc-12"', ""])
def test_an_etag_is_never_taken_for_a_digest(etag: str | None, server: _Server, here: Syncing) -> None:
    headers = {} if etag is None else {"ETag": etag}
    server.answers = lambda target: (
        _listed(_item(f"tree/{MODEL}", etag=etag))
        if "list-type" in target
        else Said(body=DATA, headers=headers)
    )

    weight = here.run(WeightSpec(origin=Origin.S3, source="s3://bucket/tree"))

    assert (weight.path / MODEL).read_bytes() == DATA
    _no_canary(here)


# ---- a hub


def _json(value: object) -> Said:
    return Said(body=json.dumps(value).encode(), headers={"Content-Type": "application/json"})


def _file(path: object = MODEL, **more: object) -> dict[str, object]:
    git = hashlib.sha1(b"blob %d\0" % len(DATA) + DATA, usedforsecurity=False).hexdigest()
    return {"type": "file", "path": path, "size": len(DATA), "oid": git, **more}


TREES: dict[str, tuple[Said, str]] = {
    "a page": (Said(body=PAGE, headers={"Content-Type": "text/html"}), "not a Hugging Face hub"),
    "half JSON": (Said(body=b'[{"type": "fi'), "not a Hugging Face hub"),
    "no files": (_json([]), "no file at the origin"),
    "no list": (_json({"error": "no"}), "not a Hugging Face hub|no file at the origin"),
    "a way out": (_json([_file("../../x.bin")]), r"'\.\.' part"),
    "an absolute name": (_json([_file("/etc/passwd")]), "absolute"),
    "a NUL": (_json([_file("a\0b")]), "control character"),
    "a name of 300 letters": (_json([_file("a" * 300)]), "longer"),
    "twins by case": (_json([_file("A.bin"), _file("a.bin")]), "same|apart|one"),
    "another content": (_json([_file(oid="0" * 40)]), "not what was announced"),
    "another size": (_json([_file(size=5)]), "bytes came where"),
    "a negative size": (_json([_file(size=-5)]), "no sound size"),
    "a size that is text": (_json([_file(size="many")]), "no sound size"),
    "a digest that is none": (
        _json([_file(lfs={"oid": "xyz", "size": len(DATA), "pointerSize": 1})]),
        "digest|not a Hugging Face hub",
    ),
    "401": (Said(status=401, body=b"{}"), "repository|401"),
    "403": (Said(status=403, body=b"{}"), "403"),
}


@pytest.mark.parametrize("row", TREES)
def test_a_bad_answer_of_a_hub_is_refused(row: str, server: _Server, here: Syncing) -> None:
    pytest.importorskip("huggingface_hub")
    said, message = TREES[row]
    commit = _json({"id": "org/voice", "sha": COMMIT, "siblings": []})

    def answers(target: str) -> Said:
        if "/tree/" in target:
            return said
        return commit if "/api/" in target else Said(body=DATA, headers={"ETag": '"1"'})

    server.answers = answers

    _refused(here, WeightSpec(origin=Origin.HF, source="org/voice"), f"(?i){message}")

    assert len(server.asked) < 60


@pytest.mark.parametrize("said", [Said(status=500), Said(status=429, headers={"Retry-After": "86400"})])
def test_a_hub_that_lets_its_client_wait_for_a_day_is_given_up(
    said: Said, server: _Server, here: Syncing, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("huggingface_hub")
    monkeypatch.setattr("coldstart_sdk.storage.listing.ANSWER_WITHIN_S", 2)
    server.answers = lambda _: said

    _refused(here, WeightSpec(origin=Origin.HF, source="org/voice"), "cannot be reached")


# ---- manifests and refs


GOOD_MANIFEST = Manifest(
    version=MANIFEST_VERSION,
    origin=Origin.URL,
    source="",
    revision="",
    files=(FileEntry(path=MODEL, size_bytes=len(DATA), digest=f"sha256:{sha256(DATA)}"),),
)


def _with(**changes: object) -> Callable[[dict[str, object]], object]:
    return lambda manifest: {**manifest, **changes}


def _entry(**changes: object) -> Callable[[dict[str, object]], object]:
    return lambda manifest: {
        **manifest,
        "files": [{**record_of(manifest), **changes}],
    }


def record_of(manifest: dict[str, object]) -> dict[str, object]:
    files = manifest["files"]
    assert isinstance(files, list)
    first: dict[str, object] = files[0]
    return first


def _twice(manifest: dict[str, object]) -> object:
    first = record_of(manifest)
    return {**manifest, "files": [first, {**first, "digest": "sha256:" + "0" * 64}]}


MANIFESTS: dict[str, Callable[[dict[str, object]], object]] = {
    "a list": lambda _: [],
    "no object at all": lambda _: None,
    "no version": lambda manifest: {name: manifest[name] for name in manifest if name != "version"},
    "files that are text": _with(files="all"),
    "an upper-case digest": _entry(digest=f"sha256:{sha256(DATA).upper()}"),
    "a short digest": _entry(digest="sha256:00"),
    "a digest of another kind": _entry(digest="md5:" + "0" * 32),
    "a negative size": _entry(size_bytes=-1),
    "a size of 2**63": _entry(size_bytes=2**63),
    "a size that is no whole number": _entry(size_bytes=1.5),
    "a way out": _entry(path="../x"),
    "an absolute name": _entry(path="/etc/passwd"),
    "a reserved name": _entry(path="aux"),
    "an empty part": _entry(path="a//b"),
    "one path, two digests": _twice,
    "chunks that do not fit": _entry(chunks=["0" * 64] * 7),
}


@pytest.mark.parametrize("row", MANIFESTS)
def test_a_bad_manifest_in_a_store_is_a_miss_and_the_origin_serves(
    row: str, server: _Server, here: Syncing, tmp_path: Path
) -> None:
    server.answers = lambda _: Said(body=DATA, headers={"ETag": '"1"', "Accept-Ranges": "bytes"})
    weight = _signed(server)
    store = store_below(str(tmp_path / "store"))
    good = replace(GOOD_MANIFEST, source=f"http://127.0.0.1:{server.server_port}/{MODEL}")
    bad = MANIFESTS[row](json.loads(record.canonical(good)))
    text = json.dumps(bad, sort_keys=True).encode()
    digest = "sha256:" + sha256(text)
    store.write(layout.manifest_key(digest), text, media_type="application/json")
    store.write(layout.ref_key(ref_of(weight, tmp_path)), f"{digest}\n".encode(), media_type="text/plain")

    brought = here.run(weight, tiers=[StoreTier("store", lambda: store)])

    assert brought.tier == "origin"
    assert brought.path.read_bytes() == DATA
    assert not (tmp_path / "x").exists()
    _no_canary(here)


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\n",
        b"sha256:",
        b"sha256:" + b"0" * 64,
        b" sha256:" + b"0" * 64 + b"\n",
        b"\xff" * 80,
        b"a\nb\n",
        b"x" * 5000,
    ],
)
def test_a_bad_ref_in_a_store_is_a_miss_and_the_origin_serves(
    text: bytes, server: _Server, here: Syncing, tmp_path: Path
) -> None:
    server.answers = lambda _: Said(body=DATA, headers={"ETag": '"1"'})
    weight = _signed(server)
    store = store_below(str(tmp_path / "store"))
    store.write(layout.ref_key(ref_of(weight, tmp_path)), text, media_type="text/plain")

    assert here.run(weight, tiers=[StoreTier("store", lambda: store)]).tier == "origin"
    _no_canary(here)


# ---- weights files


FILES: dict[str, tuple[str, bytes, str]] = {
    "nothing": (MODEL, b"", "empty file"),
    "a pointer of Git LFS": (
        "m.safetensors",
        b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n",
        "Git LFS pointer",
    ),
    "a page": (MODEL, PAGE, "HTML page"),
    "an error": ("m.safetensors", b'{"error": "gone"}', "error message"),
    "an XML error": (MODEL, b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "not weights"),
    "a header beyond all bounds": ("m.safetensors", b"\xff" * 8 + b"{}" * 40, "damaged safetensors"),
    "a cut header": ("m.safetensors", (80).to_bytes(8, "little") + b'{"a":', "damaged safetensors"),
    "a pickle under another name": ("m.safetensors", b"\x80\x04\x95" + bytes(60), "damaged safetensors"),
}


@pytest.mark.parametrize("row", FILES)
def test_what_is_no_weights_file_is_refused(row: str, server: _Server, here: Syncing) -> None:
    name, data, message = FILES[row]
    server.answers = lambda _: Said(body=data, headers={"ETag": '"1"'})

    _refused(here, replace(_signed(server, name), sha256=None), message)

    assert here.leftovers() == set()


def _signed(server: _Server, name: str = MODEL) -> WeightSpec:
    source = f"http://user:{CANARIES[3]}@127.0.0.1:{server.server_port}/{name}?X-Amz-Signature={CANARIES[2]}"
    return WeightSpec(origin=Origin.URL, source=source, sha256=sha256(DATA))
