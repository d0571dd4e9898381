"""The whole plane, on a thread of its own: gRPC for the client and for each container, HTTP for the rest."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from coldstart_sdk.rehearsal.modal.calling import Calling
from coldstart_sdk.rehearsal.modal.containers import Container, Containers
from coldstart_sdk.rehearsal.modal.deploying import Deploying
from coldstart_sdk.rehearsal.modal.inside import Inside
from coldstart_sdk.rehearsal.modal.servicer import Room, servicer
from coldstart_sdk.rehearsal.modal.state import World
from coldstart_sdk.rehearsal.modal.web import Web

if TYPE_CHECKING:
    from typing_extensions import Self

T = TypeVar("T")


class Plane:
    """Modal, as far as its client and its containers can tell."""

    def __init__(
        self,
        *,
        secrets: Mapping[str, Mapping[str, str]] | None = None,
        volumes: Path | None = None,
        env: Mapping[str, str] | None = None,
        commit_every_s: float | None = 5.0,
    ) -> None:
        """`secrets` by name; `volumes` to keep them; `env` for every container.

        Every `commit_every_s` what a container wrote to a volume is committed in the background; None: never.
        """
        self._scratch = Path(
            tempfile.mkdtemp(prefix="modal-")
        )  # short: a socket's path has at most 107 bytes
        for room in ("blobs", "tasks", "s"):
            (self._scratch / room).mkdir()
        if volumes:
            volumes.mkdir(parents=True, exist_ok=True)
            (self._scratch / "volumes").symlink_to(volumes.absolute())
        self._secrets = secrets or {}
        self._container_env = env or {}
        self._commit_every_s = commit_every_s
        self._servicer = servicer(Deploying, Calling, Inside)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="modal-plane", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self.do(self._open())
        return self

    def __exit__(self, *_: object) -> None:
        self.do(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._scratch, ignore_errors=True)

    @property
    def env(self) -> dict[str, str]:
        """What makes Modal's client talk to this plane and to nobody else."""
        return {
            "MODAL_SERVER_URL": f"http://127.0.0.1:{self._port}",
            "MODAL_TOKEN_ID": "ak-rehearsal",
            "MODAL_TOKEN_SECRET": "as-rehearsal",
            "MODAL_CONFIG_PATH": str(self._scratch / "no-config.toml"),
            "MODAL_DISABLE_API_PROXY": "1",
            "NO_PROXY": "127.0.0.1",
        }

    def do(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run it where the plane lives."""
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result()

    async def _open(self) -> None:
        from grpclib.server import Server  # noqa: PLC0415 - comes with Modal's package

        self.world = World(self._scratch, self._secrets)
        self.containers = Containers(self.world, self._container_env, self._listen, self._commit_every_s)
        self._web = Web(self.world, self.containers)
        self.containers.web = await self._web.start()
        self._server = Server([self._room(None)])
        await self._server.start("127.0.0.1", 0)
        self._port = self._server._server.sockets[0].getsockname()[1]  # noqa: SLF001 - grpclib does not tell otherwise

    async def _listen(self, container: Container, address: Path) -> Any:  # noqa: ANN401 - grpclib's server
        from grpclib.server import Server  # noqa: PLC0415 - as above

        server = Server([self._room(container)])
        await server.start(path=str(address))
        return server

    def _room(self, container: Container | None) -> Room:
        return self._servicer(self.world, self.containers, container)

    async def _close(self) -> None:
        await self.containers.stop_all()
        await self._web.stop()
        self._server.close()
        await self._server.wait_closed()
        await self._loop.shutdown_default_executor()
