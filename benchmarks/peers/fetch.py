"""One client fetches one tree, as a program of its own: `python -m benchmarks.peers.fetch CLIENT ORDER.json`.

Each is set up as its authors advise for throughput, or as shipped where its name says so. Credentials and the
certificate's authority stand in the environment.
"""

# ruff: noqa: PLC0415 - a client is measured with its own imports, and nobody else's
from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from coldstart_sdk.spec import WeightSpec
    from coldstart_sdk.storage.tiers import Tier

_RANGE_BYTES = 16 << 20


@dataclass(frozen=True, kw_only=True)
class Order:
    endpoint: str
    bucket: str
    prefix: str
    store: str
    repository: str
    hub: str
    certificate: str
    into: str

    @property
    def is_tls(self) -> bool:
        return self.endpoint.startswith("https")


def ours(order: Order) -> None:
    """Out of a store of ours, on an empty machine: every chunk judged as it comes."""
    from coldstart_sdk.spec import Origin, WeightSpec
    from coldstart_sdk.storage import tiers

    places = tiers.Places(store=f"s3://{order.bucket}/{order.store}")
    weight = WeightSpec(origin=Origin.S3, source=f"s3://{order.bucket}/{order.prefix}")
    _sync(order, weight, tiers.between(weight, (tiers.STORE,), places, Path(order.into)))


def ours_tree(order: Order) -> None:
    """Out of a plain tree of which nothing is known: the SHA-256 of every file is computed on the way."""
    from coldstart_sdk.spec import Origin, WeightSpec

    _sync(order, WeightSpec(origin=Origin.S3, source=f"s3://{order.bucket}/{order.prefix}"))


def ours_hub(order: Order) -> None:
    """From a hub, each file checked against the SHA-256 that the hub publishes."""
    from coldstart_sdk.spec import Origin, WeightSpec

    _sync(order, WeightSpec(origin=Origin.HF, source=order.repository))


def _sync(order: Order, weight: WeightSpec, places: Sequence[Tier] = ()) -> None:
    from coldstart_sdk.events import ignore
    from coldstart_sdk.storage.sync import sync

    home = Path(order.into)
    sync(
        "w",
        weight,
        home=home,
        project=home,
        step="fetch:w",
        emit=ignore,
        cancelled=threading.Event(),
        tiers=places,
        alone=True,
    )


def boto3_as_shipped(order: Order) -> None:
    import boto3

    client = boto3.client("s3")
    for key in _keys(client, order):
        client.download_file(order.bucket, key, _target(order, key))


def boto3_tuned(order: Order) -> None:
    import boto3
    from boto3.s3.transfer import TransferConfig
    from botocore.config import Config

    client = boto3.client("s3", config=Config(max_pool_connections=32))
    config = TransferConfig(
        multipart_threshold=_RANGE_BYTES,
        multipart_chunksize=_RANGE_BYTES,
        max_concurrency=16,
        preferred_transfer_client="classic",
    )
    for key in _keys(client, order):
        client.download_file(order.bucket, key, _target(order, key), Config=config)


def boto3_crt(order: Order) -> None:
    """As boto3 drives it; boto3 itself always speaks TLS through it."""
    import boto3
    from botocore.session import Session
    from s3transfer import crt

    session = Session()
    credentials = crt.BotocoreCRTCredentialsWrapper(session.get_credentials())
    client = crt.create_s3_crt_client(
        region="us-east-1",
        use_ssl=order.is_tls,
        verify=order.certificate if order.is_tls else None,
        crt_credentials_provider=credentials.to_crt_credentials_provider(),
    )
    serializer = crt.BotocoreCRTRequestSerializer(
        session, {"region_name": "us-east-1", "endpoint_url": order.endpoint}
    )
    with crt.CRTTransferManager(client, serializer) as manager:
        for future in [
            manager.download(order.bucket, key, _target(order, key))
            for key in _keys(boto3.client("s3"), order)
        ]:
            future.result()


def obstore(order: Order) -> None:
    import obstore as obs
    from obstore.store import S3Store

    options: Any = {"allow_http": not order.is_tls, "allow_invalid_certificates": order.is_tls}
    store = S3Store(
        order.bucket, endpoint=order.endpoint, virtual_hosted_style_request=False, client_options=options
    )
    calls: list[Callable[[], object]] = []

    def fetch(path: str, start: int, end: int, into: int) -> None:
        os.pwrite(into, obs.get_range(store, path, start=start, end=end), start)

    for item in (item for page in obs.list(store, f"{order.prefix}/") for item in page):
        path, size = item["path"], item["size"]
        into = os.open(_target(order, path), os.O_WRONLY | os.O_CREAT, 0o644)
        calls.extend(
            partial(fetch, path, start, min(start + _RANGE_BYTES, size), into)
            for start in range(0, size, _RANGE_BYTES)
        )
    _together(calls, threads=8)


def minio(order: Order) -> None:
    import urllib3
    from minio import Minio

    pool = urllib3.PoolManager(maxsize=16, ca_certs=order.certificate if order.is_tls else None)
    client = Minio(
        urlsplit(order.endpoint).netloc,
        access_key=os.environ["AWS_ACCESS_KEY_ID"],
        secret_key=os.environ["AWS_SECRET_ACCESS_KEY"],
        region="us-east-1",
        secure=order.is_tls,
        http_client=pool,
    )
    keys = [
        item.object_name for item in client.list_objects(order.bucket, f"{order.prefix}/", recursive=True)
    ]
    _together(
        [partial(client.fget_object, order.bucket, key, _target(order, key)) for key in keys], threads=4
    )


def s5cmd(order: Order) -> None:
    _become(
        "s5cmd",
        "--endpoint-url",
        order.endpoint,
        "--no-verify-ssl",
        "--log",
        "error",
        "cp",
        "--part-size",
        "16",
        "--concurrency",
        "8",
        f"s3://{order.bucket}/{order.prefix}/*",
        f"{order.into}/",
    )


def rclone(order: Order) -> None:
    remote = f":s3,provider=Other,env_auth,list_version=2,endpoint='{order.endpoint}':"
    _become(
        "rclone",
        "copy",
        f"{remote}{order.bucket}/{order.prefix}",
        order.into,
        "--config",
        os.devnull,
        "--transfers",
        "4",
        "--multi-thread-streams",
        "4",
        "--no-check-certificate",
        "--s3-no-check-bucket",
        "--fast-list",
        "-q",
    )


def huggingface_hub(order: Order) -> None:
    from huggingface_hub import snapshot_download

    snapshot_download(order.repository, endpoint=order.hub, cache_dir=order.into, max_workers=8)


CLIENTS: dict[str, Callable[[Order], None]] = {
    "ours": ours,
    "ours, nothing known": ours_tree,
    "ours, from the hub": ours_hub,
    "boto3 as shipped": boto3_as_shipped,
    "boto3 tuned": boto3_tuned,
    "boto3 with CRT": boto3_crt,
    "obstore": obstore,
    "minio-py": minio,
    "s5cmd": s5cmd,
    "rclone": rclone,
    "huggingface_hub": huggingface_hub,
}


def _keys(client: Any, order: Order) -> list[str]:  # noqa: ANN401 - boto3 makes its clients as it goes
    pages = client.get_paginator("list_objects_v2").paginate(Bucket=order.bucket, Prefix=f"{order.prefix}/")
    return [item["Key"] for page in pages for item in page["Contents"]]


def _target(order: Order, key: str) -> str:
    path = Path(order.into, key.removeprefix(f"{order.prefix}/"))
    path.parent.mkdir(parents=True, exist_ok=True)
    return str(path)


def _together(calls: Sequence[Callable[[], object]], *, threads: int) -> None:
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(threads) as pool:
        for call in [pool.submit(call) for call in calls]:
            call.result()


def _become(program: str, *arguments: str) -> None:
    beside = Path(sys.executable).with_name(program)
    path = str(beside) if beside.exists() else shutil.which(program)
    if path is None:
        raise SystemExit(f"{program} is not installed")
    os.execv(path, [path, *arguments])  # noqa: S606 - this process becomes that program


if __name__ == "__main__":
    CLIENTS[sys.argv[1]](Order(**json.loads(Path(sys.argv[2]).read_text())))
