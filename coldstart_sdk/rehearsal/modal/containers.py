"""Containers: processes of Modal's own entry point, one a task, each with a socket of its own.

A container is started when an input waits that no other has room for. It is a process on this machine: what
an image would bring must be installed here, and a mount is a folder.
"""

# ruff: noqa: ANN401 - messages of the protocol have no types

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

from modal_proto import api_pb2

from coldstart_sdk.rehearsal.modal.state import App, Call, Function, Input, Line, World
from coldstart_sdk.rehearsal.modal.volumes import View, open_below

RESTORE_S = 0.3
"""The client closes its connection after the checkpoint's reply; only then may the restore begin."""
TRIES = 2
"""Containers that may die over one input without saying why."""
STOP_S = 30.0
_KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "SSL_CERT_FILE", "COVERAGE_PROCESS_CONFIG")
"""What a container has of this machine's environment; a secret that was not declared is not there."""
MOST = 10
"""Containers of one function, whatever it asks for."""


class Container:
    """One task."""

    def __init__(self, task: str, function: Function, folder: Path) -> None:
        self.task = task
        self.first_task = task
        self.function = function
        self.folder = folder
        self.inputs: dict[str, Input] = {}
        self.commits: list[str] = []
        self.views: dict[str, View] = {}
        """By volume id."""
        self.cancelled: list[str] = []
        self.stopping = False
        self.ended = asyncio.Event()
        self.process: asyncio.subprocess.Process | None = None
        self.code: int | None = None
        self.restored = False

    @property
    def concurrency(self) -> int:
        return max(1, int(self.function.definition.max_concurrent_inputs))

    @property
    def has_room(self) -> bool:
        return not self.stopping and len(self.inputs) < self.concurrency

    @property
    def restore_file(self) -> Path:
        return self.folder / "restore-state.json"

    def open_below(self, view: View) -> str | None:
        return open_below(self.process.pid, view.folder) if self.process else None

    def cancellations(self) -> Any:
        """What a heartbeat's reply brings."""
        ids, self.cancelled = self.cancelled, []
        return api_pb2.CancelInputEvent(input_ids=ids) if ids else None


class Containers:
    """All of them, and the inputs that wait for one."""

    def __init__(
        self, world: World, env: Mapping[str, str], listen: Any, commit_every_s: float | None
    ) -> None:
        self.world = world
        self._commit_every_s = commit_every_s
        self.web = ""
        self._env = env
        self._listen = listen
        self._live: dict[str, Container] = {}
        self._waiting: list[Input] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()
        self.past: list[Container] = []
        self.env_after_restore: dict[str, str] = {}
        """What a restored container finds in its environment, whatever was in the snapshot."""

    @property
    def live(self) -> tuple[Container, ...]:
        return tuple(self._live.values())

    def of_function(self, function_id: str) -> list[Container]:
        return [each for each in self._live.values() if each.function.id == function_id]

    def of_app(self, app: App) -> list[Container]:
        return [each for each in self._live.values() if each.function.app == app.id]

    # ---- inputs

    async def submit(self, put: Input) -> None:
        self.world.inputs[put.id] = put
        async with self._changed:
            self._waiting.append(put)
            self._changed.notify_all()
        self._start_where_needed(self.world.functions[put.call.function])

    async def take(self, container: Container, timeout_s: float) -> list[Input]:
        """The next input for this container, if one comes in time."""

        def is_there() -> bool:
            return container.stopping or any(
                each.call.function == container.function.id for each in self._waiting
            )

        async with self._changed:
            with suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._changed.wait_for(is_there), timeout_s)
            if container.stopping:
                return []
            for each in self._waiting:
                if each.call.function == container.function.id:
                    self._waiting.remove(each)
                    each.container = container.task
                    container.inputs[each.id] = each
                    return [each]
            return []

    async def answered(self, item: Any) -> None:
        """An output has come."""
        put = self.world.inputs[item.input_id]
        for container in self._live.values():
            container.inputs.pop(put.id, None)
        await self._output(put, item.result, item.data_format)

    async def failed(self, container: Container, result: Any) -> None:
        """It could not start, and says why: so does every call that waits for it."""
        container.stopping = True
        waiting = [each for each in self._waiting if each.call.function == container.function.id]
        self._waiting = [each for each in self._waiting if each not in waiting]
        for put in (*waiting, *container.inputs.values()):
            await self._output(put, result, api_pb2.DATA_FORMAT_PICKLE)
        container.inputs.clear()

    async def cancel(self, call: Call) -> None:
        for put in call.inputs.values():
            for container in self._live.values():
                if put.id in container.inputs:
                    container.cancelled.append(put.id)
        self._waiting = [each for each in self._waiting if each.call is not call]

    async def _output(self, put: Input, result: Any, data_format: Any) -> None:
        await put.call.outputs.put(
            api_pb2.FunctionGetOutputsItem(
                result=result,
                idx=put.index,
                input_id=put.id,
                data_format=data_format,
                task_id=put.container or "",
            )
        )
        if put.call.is_done:
            await put.call.said.end()
            await put.call.given.end()

    # ---- tasks

    def _start_where_needed(self, function: Function) -> None:
        live = [each for each in self.of_function(function.id) if not each.stopping]
        waiting = sum(each.call.function == function.id for each in self._waiting)
        room = sum(each.concurrency - len(each.inputs) for each in live)
        most = min(function.definition.autoscaler_settings.max_containers or MOST, MOST)
        if waiting > room and len(live) < most:
            container = Container(self.world.ids.new("ta"), function, self._folder())
            self._live[container.task] = container
            task = asyncio.get_running_loop().create_task(self._run(container))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _folder(self) -> Path:
        folder = self.world.folder / "tasks" / str(len(self._live) + len(self.past))
        folder.mkdir(parents=True)
        return folder

    async def _run(self, container: Container) -> None:
        address = self.world.folder / "s" / container.first_task[-6:]
        server = await self._listen(container, address)
        try:
            await asyncio.to_thread(self._attach, container)
            container.process = await self._start(container, address)
            container.code = await self._until_its_end(container, container.process)
        finally:
            server.close()
            with suppress(OSError):
                address.unlink()
            self._live.pop(container.first_task, None)
            self.past.append(container)
            container.ended.set()
            await self._after_death(container)

    async def _until_its_end(self, container: Container, process: asyncio.subprocess.Process) -> int:
        commits = asyncio.create_task(self._commit_now_and_then(container))
        try:
            await asyncio.gather(
                self._read(container, process.stdout, api_pb2.FILE_DESCRIPTOR_STDOUT),
                self._read(container, process.stderr, api_pb2.FILE_DESCRIPTOR_STDERR),
            )
            code = await process.wait()
        finally:
            commits.cancel()
        for view in container.views.values():
            self._lost(view, await asyncio.to_thread(view.uncommitted), "the container ended")
        return code

    # ---- volumes

    def _attach(self, container: Container) -> None:
        for mount in container.function.definition.volume_mounts:
            volume = self.world.volumes[mount.volume_id]
            container.views[volume.id] = View(volume, container.folder / "volumes" / volume.name)

    async def _commit_now_and_then(self, container: Container) -> None:
        mounts = container.function.definition.volume_mounts
        views = [container.views[mount.volume_id] for mount in mounts if mount.allow_background_commits]
        while self._commit_every_s and views:
            await asyncio.sleep(self._commit_every_s)
            for view in views:
                await asyncio.to_thread(view.commit)

    def _lost(self, view: View, paths: Sequence[str], when: str) -> None:
        if paths:
            more = f" and {len(paths) - 1} more" if len(paths) > 1 else ""
            self.world.lost.append(
                f"{paths[0]}{more} on the volume {view.volume.name} was not committed when {when}"
            )

    async def _after_death(self, container: Container) -> None:
        """What it had taken goes to another, or is given up."""
        orphans = list(container.inputs.values())
        if not container.stopping and not orphans:
            orphans = [each for each in self._waiting if each.call.function == container.function.id]
            self._waiting = [each for each in self._waiting if each not in orphans]
        for put in orphans:
            put.deaths += 1
            if put.deaths < TRIES:
                await self.submit(put)
            else:
                why = f"the container ended with {container.code} before it answered"
                result = api_pb2.GenericResult(
                    status=api_pb2.GenericResult.GENERIC_STATUS_INTERNAL_FAILURE, exception=why
                )
                await self._output(put, result, api_pb2.DATA_FORMAT_PICKLE)

    async def _start(self, container: Container, address: Path) -> asyncio.subprocess.Process:
        root = container.folder / "root"
        self._fill(container.function, root)
        arguments = container.folder / "arguments"
        arguments.write_bytes(self._arguments(container).SerializeToString())
        return await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "modal._container_entrypoint",
            cwd=root,
            env=self._environment(container, root, arguments, address),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            limit=1 << 24,
            # A shell may have started us with SIGINT ignored, which a child would inherit.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def _fill(self, function: Function, root: Path) -> None:
        """The files of the mounts that belong below /root; what belongs elsewhere has no place here."""
        root.mkdir()
        for mount_id in self._mounts(function):
            for name, digest in self.world.mounts[mount_id].files.items():
                if name.startswith("/root/"):
                    file = root / name.removeprefix("/root/")
                    file.parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(self.world.blob(digest), file)

    def _mounts(self, function: Function) -> list[str]:
        """The function's, and those that image layers copied."""
        copied = self._context_mounts(function.definition.image_id)
        return [mount for mount in (*copied, *function.definition.mount_ids) if mount in self.world.mounts]

    def _context_mounts(self, image_id: str) -> list[str]:
        image = self.world.images[image_id].message
        before = [mount for base in image.base_images for mount in self._context_mounts(base.image_id)]
        return [*before, *([image.context_mount_id] if image.context_mount_id else [])]

    def _environment(
        self, container: Container, root: Path, arguments: Path, address: Path
    ) -> dict[str, str]:
        definition = container.function.definition
        image = self.world.env_of(definition.image_id)
        secrets: dict[str, str] = {}
        for secret_id in definition.secret_ids:
            secrets |= self.world.secrets[secret_id].values
        mounted = {
            mount.mount_path: str(container.views[mount.volume_id].folder)
            for mount in definition.volume_mounts
        }
        opt = self.world.folder / "opt"
        image = {
            name: _moved(value, {**mounted, "/opt/coldstart": str(opt)}) for name, value in image.items()
        }
        path = os.pathsep.join(
            filter(None, (str(root), os.environ.get("PYTHONPATH"), self._env.get("PYTHONPATH")))
        )
        kept = {name: os.environ[name] for name in _KEPT if name in os.environ}
        snapshot = {
            "MODAL_ENABLE_SNAP_RESTORE": "1",
            "MODAL_RESTORE_STATE_PATH": str(container.restore_file),
        }
        return {
            **kept,
            **image,
            **secrets,
            **self._env,
            **(snapshot if self._snapshots(container) else {}),
            "PYTHONPATH": path,
            "PYTHONUNBUFFERED": "1",
            "COLDSTART_REHEARSAL": "1",
            "MODAL_CONTAINER_ARGUMENTS_PATH": str(arguments),
            "MODAL_SERVER_URL": f"unix://{address}",
            "MODAL_TASK_ID": container.task,
            "MODAL_IMAGE_ID": definition.image_id,
            "MODAL_ENVIRONMENT": "main",
            "MODAL_IS_REMOTE": "1",
            "MODAL_CONFIG_PATH": "/nonexistent/modal.toml",
            "MODAL_HEARTBEAT_INTERVAL": "1",
        }

    def _snapshots(self, container: Container) -> bool:
        """Modal takes snapshots of deployed apps alone."""
        deployed = self.world.apps[container.function.app].deployed
        return deployed and bool(container.function.definition.checkpointing_enabled)

    def _arguments(self, container: Container) -> Any:
        function = container.function
        definition = api_pb2.Function()
        definition.CopyFrom(function.definition)
        definition.is_checkpointing_function = self._snapshots(container)
        return api_pb2.ContainerArguments(
            task_id=container.task,
            function_id=function.id,
            app_id=function.app,
            function_def=definition,
            serialized_params=function.parameters,
            checkpoint_id=f"ch-{container.task[3:]}" if self._snapshots(container) else "",
            environment_name="main",
            app_layout=self.layout(self.world.apps[function.app], definition),
        )

    def layout(self, app: App, definition: Any = None) -> Any:
        """Every object that the app's code may meet."""
        layout = api_pb2.AppLayout(function_ids=app.functions, class_ids=app.classes)
        functions = [
            self.world.functions[each] for each in app.functions.values() if each in self.world.functions
        ]
        for function in functions:
            layout.objects.add(object_id=function.id, function_handle_metadata=function.metadata)
        for name, class_id in app.classes.items():
            function = self.world.functions[app.functions[f"{name}.*"]]
            layout.objects.add(
                object_id=class_id,
                class_handle_metadata=api_pb2.ClassHandleMetadata(
                    class_function_id=function.id, class_function_metadata=function.metadata
                ),
            )
        for dependency in definition.object_dependencies if definition else ():
            self._add(layout, dependency.object_id)
        return layout

    def _add(self, layout: Any, object_id: str) -> None:
        if any(each.object_id == object_id for each in layout.objects):
            return
        added = layout.objects.add(object_id=object_id)
        if object_id in self.world.mounts:
            added.mount_handle_metadata.content_checksum_sha256_hex = "0" * 64
        elif volume := self.world.volumes.get(object_id):
            added.volume_metadata.CopyFrom(api_pb2.VolumeMetadata(version=volume.version, name=volume.name))

    # ---- the snapshot

    def checkpointed(self, container: Container) -> None:
        """A snapshot would be taken now. Here the process goes on, as another task."""
        task = asyncio.get_running_loop().create_task(self._restore(container))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _restore(self, container: Container) -> None:
        await asyncio.sleep(RESTORE_S)
        for view in container.views.values():  # a restored worker is on another machine
            self._lost(view, await asyncio.to_thread(view.forget), "the snapshot was taken")
        container.task = self.world.ids.new("ta")
        container.restored = True
        state = {
            "task_id": container.task,
            "function_id": container.function.id,
            **self.env_after_restore,
        }
        scratch = container.restore_file.with_suffix(".part")
        scratch.write_text(json.dumps(state))
        scratch.rename(container.restore_file)  # it is read the moment that it is there

    # ---- logs and the end

    async def _read(self, container: Container, stream: asyncio.StreamReader | None, number: int) -> None:
        while stream and (data := await stream.readline()):
            line = Line(
                app=container.function.app,
                task=container.task,
                function=container.function.id,
                stream=number,
                text=data.decode("utf-8", "replace"),
                at=time.time(),
            )
            await self.world.lines.put(line)

    async def stop_app(self, app: App) -> None:
        await asyncio.gather(*(self.stop(each) for each in self.of_app(app)))

    async def stop_all(self) -> None:
        await asyncio.gather(*(self.stop(each) for each in list(self._live.values())))
        for task in list(self._tasks):
            await task

    async def stop(self, container: Container) -> None:
        """As Modal does it: no more inputs, then SIGINT, and SIGKILL for what does not end."""
        async with self._changed:
            container.stopping = True
            self._changed.notify_all()
        with suppress(asyncio.TimeoutError):
            await asyncio.wait_for(container.ended.wait(), STOP_S)
        if container.process and container.process.returncode is None:
            container.process.kill()
            await container.ended.wait()

    async def interrupt(self, container: Container) -> None:
        """SIGINT, as a preempted container gets it; then wait for its end."""
        container.stopping = True
        if container.process:
            container.process.send_signal(signal.SIGINT)
        await container.ended.wait()


def _moved(value: str, mounted: Mapping[str, str]) -> str:
    """A path below a mount, where that mount really lies."""
    for path, folder in mounted.items():
        if value == path or value.startswith(f"{path}/"):
            return folder + value[len(path) :]
    return value
