"""A fast S3 server on loopback, nginx over a folder with a canned list; and the tree that is fetched from it.

The fastest honest data plane there is: Range, If-Match, ETag and 206 are nginx's own, `sendfile` moves the
bytes, and signatures are not checked. It cannot be written to. One folder serves three ways: `bench/tree` as
plain files of a bucket, `bench/store` as a store of ours, and `bench/tree` as a repository of a hub.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from xml.sax.saxutils import escape

from coldstart_sdk.manifest import MANIFEST_VERSION, FileEntry, Manifest
from coldstart_sdk.spec import Origin, WeightSpec
from coldstart_sdk.storage import chunks, layout, stores
from coldstart_sdk.storage.sync import ref_of

BUCKET, TREE, STORE = "bench", "tree", "store"
REPOSITORY = f"{BUCKET}/{TREE}"
SHARDS = 4
SMALL = {"config.json": 900, "tokenizer/tokenizer.json": 2_100_000, "tokenizer/vocab.txt": 700_000}

_CONF = """
worker_processes 2;
worker_rlimit_nofile 65536;
daemon off;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  tcp_nodelay on;
  keepalive_requests 100000;
  default_type application/octet-stream;
  client_body_temp_path {folder}; proxy_temp_path {folder}; fastcgi_temp_path {folder};
  uwsgi_temp_path {folder}; scgi_temp_path {folder};
  server {{
    listen 127.0.0.1:{port};
    listen 127.0.0.2:{port};
    listen 127.0.0.1:{tls_port} ssl;
    ssl_certificate {folder}/cert.pem;
    ssl_certificate_key {folder}/key.pem;
    root {root};
    location / {{
      if ($args ~ "list-type=2") {{ rewrite ^ /list.xml last; }}
    }}
    location = /list.xml {{ root {folder}; types {{ application/xml xml; }} }}
  }}
}}
"""


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where it listens."""

    port: int
    tls_port: int
    certificate: Path

    @property
    def plain(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def tls(self) -> str:
        return f"https://127.0.0.1:{self.tls_port}"

    @property
    def cdn(self) -> str:
        return f"http://127.0.0.2:{self.port}"


def make_tree(root: Path, shard_bytes: int) -> WeightSpec:
    """The files, as a plain tree and as a store; how the latter is declared."""
    tree = root / BUCKET / TREE
    tree.mkdir(parents=True)
    sizes = {f"model-{number + 1:05}-of-{SHARDS:05}.safetensors": shard_bytes for number in range(SHARDS)}
    for name, size in (sizes | SMALL).items():
        (tree / name).parent.mkdir(exist_ok=True)
        with (tree / name).open("wb") as file:
            file.write(_header(size) if name.endswith(".safetensors") else b"")
            while (left := size - file.tell()) > 0:
                file.write(os.urandom(min(left, 1 << 24)))
    weight = WeightSpec(origin=Origin.S3, source=f"s3://{BUCKET}/{TREE}")
    _publish(tree, root / BUCKET / STORE, weight)
    return weight


def program() -> str | None:
    """Debian keeps it where a user's PATH does not look."""
    return shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")


@contextmanager
def serving(root: Path, folder: Path) -> Iterator[Server]:
    """A running nginx over the root; `folder` is its own."""
    port, tls_port = _free_port(), _free_port()
    (folder / "list.xml").write_text(_list(root / BUCKET))
    _certify(folder)
    (folder / "nginx.conf").write_text(_CONF.format(folder=folder, root=root, port=port, tls_port=tls_port))
    found = program()
    assert found is not None, "there is no nginx here"
    # Started by root it would serve as somebody else, who may not read a temporary folder.
    user = ["-g", "user root;"] if os.getuid() == 0 else []
    child = subprocess.Popen(
        [found, "-c", str(folder / "nginx.conf"), "-e", str(folder / "error.log"), *user]
    )
    try:
        _wait_for(port, child)
        yield Server(port=port, tls_port=tls_port, certificate=folder / "cert.pem")
    finally:
        child.terminate()
        child.wait()


def _header(size: int) -> bytes:
    """A file of so many bytes holds one tensor: what is not weights would be refused."""
    head = json.dumps({"w": {"dtype": "U8", "shape": [size - 128], "data_offsets": [0, size - 128]}})
    return (120).to_bytes(8, "little") + head.encode().ljust(120)


def _publish(tree: Path, store: Path, weight: WeightSpec) -> None:
    """The same files as blobs, without a copy of their bytes."""
    entries = []
    below = store / stores.FOLDER
    for file in sorted(file for file in tree.rglob("*") if file.is_file()):
        with file.open("rb") as opened:
            digest = "sha256:" + _sha256(opened.fileno())
        blob = below / layout.blob_key(digest)
        blob.parent.mkdir(parents=True, exist_ok=True)
        os.link(file, blob)
        entries.append(
            FileEntry(
                path=file.relative_to(tree).as_posix(),
                size_bytes=file.stat().st_size,
                digest=digest,
                chunks=chunks.of_file(file, threading.Event()),
            )
        )
    manifest = Manifest(
        version=MANIFEST_VERSION,
        origin=weight.origin,
        source=weight.source,
        revision="bench",
        files=tuple(entries),
    )
    layout.publish(stores.opened(str(below)), ref_of(weight, tree), manifest)


def _sha256(descriptor: int) -> str:
    hashed, at = hashlib.sha256(), 0
    while block := os.pread(descriptor, 1 << 22, at):
        hashed.update(block)
        at += len(block)
    return hashed.hexdigest()


def _list(bucket: Path) -> str:
    """What ListObjectsV2 says of the plain tree."""
    told = [
        f"<Contents><Key>{escape(file.relative_to(bucket).as_posix())}</Key>"
        f"<LastModified>2026-01-01T00:00:00.000Z</LastModified><ETag>&quot;{_etag(file)}&quot;</ETag>"
        f"<Size>{file.stat().st_size}</Size><StorageClass>STANDARD</StorageClass></Contents>"
        for file in sorted(file for file in (bucket / TREE).rglob("*") if file.is_file())
    ]
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n'
        '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
        f"<Name>{BUCKET}</Name><Prefix>{TREE}/</Prefix><KeyCount>{len(told)}</KeyCount><MaxKeys>1000</MaxKeys>"
        f"<IsTruncated>false</IsTruncated>{''.join(told)}</ListBucketResult>"
    )


def _etag(file: Path) -> str:
    """As nginx makes one."""
    state = file.stat()
    return f"{int(state.st_mtime):x}-{state.st_size:x}"


def _certify(folder: Path) -> None:
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
    files = ["-keyout", str(folder / "key.pem"), "-out", str(folder / "cert.pem")]
    subprocess.run(
        [
            shutil.which("openssl") or "/usr/bin/openssl",
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-days",
            "2",
            *subject,
            *files,
        ],
        check=True,
        capture_output=True,
    )


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def _wait_for(port: int, child: subprocess.Popen[bytes]) -> None:
    ends_s = time.monotonic() + 20
    while child.poll() is None and time.monotonic() < ends_s:
        with socket.socket() as asking:
            if asking.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.02)
    raise RuntimeError("nginx does not answer")
