"""Stand between a worker and whoever hears its events, and add what is seen inside its steps.

    recorder = Recorder(emit, project=…, home=…, name=…)    before the lifecycle is made
    recorder.follow(life.steps.made, life.plan.spec)         once it is

It hears every event, either as the sink that a lifecycle emits to or as one more reader of a journal.

The hooks come out after the first few requests, or when the worker drains.
"""

from __future__ import annotations

import os
import pathlib
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Protocol

from coldstart_sdk.events import (
    Emit,
    Event,
    FactsSeen,
    RequestEnded,
    State,
    StateChanged,
    StepEnded,
    StepProgress,
    StepStarted,
    now,
)
from coldstart_sdk.recorder import imports, machine_facts
from coldstart_sdk.recorder.environment import Environment, cache_key
from coldstart_sdk.recorder.names import FAULTS, UNUSED, USED
from coldstart_sdk.recorder.seams import Seams
from coldstart_sdk.recorder.sink import Sink
from coldstart_sdk.spec import Spec

if TYPE_CHECKING:
    from coldstart_sdk.recorder.deletions import Deletions
    from coldstart_sdk.recorder.sockets import Wires
    from coldstart_sdk.recorder.tensors import Tensors

SWITCH = "COLDSTART_RECORD"
"""`0` in the environment: steps are told, and nothing from inside them."""
REQUESTS = 20
"""How many requests are looked into."""
_LOOKED_WITHIN_S = 2.0


class _Made(Protocol):
    instance: Any


def is_on() -> bool:
    return os.environ.get(SWITCH, "1") not in {"0", "off", "false"}


class Recorder:
    """A sink like any other, that says more than it hears."""

    def __init__(self, emit: Emit, *, project: Path, home: Path, name: str) -> None:
        self._emit = emit
        self._project = project
        self._home = home
        self._name = name
        self._seams = Seams()
        self._sink = Sink(emit)
        self._environment = Environment()
        self._tensors: Tensors | None = None
        self._wires: Wires | None = None
        self._tell_bytes_themselves: set[str] = set()
        self._faults: dict[str, tuple[int, int]] = {}
        self._throttling = machine_facts.Throttling()
        self._made: _Made | None = None
        self._spec: Spec | None = None
        self._watches_calls = False
        self._requests = 0
        self._looking: threading.Thread | None = None
        self._open = True
        self._lock = threading.Lock()
        self._deletions: Deletions | None = None
        for one in ("unlink", "remove"):
            self._seams.replace(os, one, self._deleting_file)
        if kept := getattr(pathlib, "_NormalAccessor", None):  # where Python 3.10 keeps a function of its own
            self._seams.replace(kept, "unlink", lambda own: staticmethod(self._deleting_file(own)))
        self._seams.replace(threading.Thread, "start", self._starting)
        self._seams.replace(os, "system", self._asking_the_shell)
        then = {
            "socket": self._watch_sockets,
            "subprocess": self._watch_programs,
            "shutil": self._watch_folders,
            "torch": self._watch_tensors,
            "torch._dynamo.callback": self._watch_tensors,
            "safetensors.torch": self._watch_tensors,
        }
        imports.watch(self._sink, self._seams, then=then, before=self._environment.importing)

    def follow(self, made: _Made, spec: Spec) -> None:
        """Where the user's instance will be, and which of its methods are endpoints."""
        self._made, self._spec = made, spec

    def __call__(self, event: Event) -> None:
        """Hear it, and hand it on."""
        self.hear(event)
        self._emit(event)

    def hear(self, event: Event) -> None:
        """On the thread that emitted it: that is how a step's thread is known."""
        if self._open:
            self._hear(event)

    def close(self) -> None:
        """Take every hook out; what was seen stays told."""
        if self._open:
            self._open = False
            self._tell_wires(None)
            self._seams.put_back()

    def _hear(self, event: Event) -> None:
        match event:
            case StepStarted():
                self._step_starts(event.step)
            case StepProgress():
                self._tell_bytes_themselves.add(event.step)
            case StepEnded():
                self._step_ends(event.step)
            case StateChanged(state=State.READY):
                self._is_ready()
            case RequestEnded():
                self._request_ended()
            case StateChanged(state=State.DRAINING | State.FAILED | State.STOPPED):
                self._goes_down()
            case _:
                pass

    def _step_starts(self, step: str) -> None:
        self._sink.begin(step)
        thread_id = threading.get_native_id()
        if (faults := machine_facts.major_faults(thread_id)) is not None:
            self._faults[step] = (thread_id, faults)
        if step.startswith("warmup:"):
            self._watch_calls()

    def _step_ends(self, step: str) -> None:
        thread_id, before = self._faults.pop(step, (0, 0))
        after = machine_facts.major_faults(thread_id) if thread_id else None
        if after is not None and after > before:
            self._sink.count({FAULTS: float(after - before)}, step=step)
        self._tell_wires(step)
        if self._deletions:
            self._deletions.step_ends(step)
        if self._tensors:
            self._tensors.step_ends(step)
        self._sink.end(step)

    def _is_ready(self) -> None:
        if self._sink.is_ready:
            return
        self._sink.is_ready = True
        self._watch_calls()
        facts = {
            **machine_facts.seen(self._home),
            **self._throttling.seen(),
            **self._environment.late(),
        }
        self._emit(FactsSeen(at_s=now(), facts=facts))

    def _request_ended(self) -> None:
        self._requests += 1
        if self._requests == 1:
            self._tell_wires(None)
            self._look_around()
        elif self._requests >= REQUESTS:
            self.close()

    def _goes_down(self) -> None:
        if self._sink.is_ready:
            self._look_around()
        if self._looking is not None and self._looking is not threading.current_thread():
            self._looking.join(_LOOKED_WITHIN_S)
        self.close()

    def _watch_sockets(self, socket: ModuleType) -> None:
        self._seams.replace(socket.socket, "connect", self._connecting)

    def _connecting(self, original: Any) -> Any:  # noqa: ANN401 - socket.connect
        def connect(connected: Any, address: Any) -> Any:  # noqa: ANN401 - a socket, and what it takes
            if not self._open:  # somebody has kept it
                return original(connected, address)
            return self._seen_wires().connect(original, connected, address)

        return connect

    def _seen_wires(self) -> Wires:
        from coldstart_sdk.recorder.sockets import Wires  # noqa: PLC0415 - a start that opens none need not load it

        with self._lock:
            if self._wires is None:
                self._wires = Wires(self._sink, self._seams, self._tell_bytes_themselves)
            return self._wires

    def _watch_programs(self, subprocess: ModuleType) -> None:
        self._seams.replace(subprocess.Popen, "__init__", self._starting_program)

    def _starting_program(self, original: Any) -> Any:  # noqa: ANN401 - Popen's
        sink = self._sink

        def __init__(program: Any, args: Any, *rest: Any, **options: Any) -> None:  # noqa: ANN401, N807 - Popen's own
            from coldstart_sdk.recorder import programs  # noqa: PLC0415 - as above

            started_s = now()
            original(program, args, *rest, **options)
            programs.started(program.pid, args, started_s, sink)

        return __init__

    def _watch_folders(self, shutil: ModuleType) -> None:
        self._seams.replace(shutil, "rmtree", self._deleting_folder)

    def _deleting_folder(self, original: Any) -> Any:  # noqa: ANN401 - shutil.rmtree
        def rmtree(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - what it takes
            return self._seen_deletions().folder(original, *arguments, **options)

        rmtree.avoids_symlink_attacks = getattr(original, "avoids_symlink_attacks", False)  # type: ignore[attr-defined] # part of the documented function
        return rmtree

    def _deleting_file(self, original: Any) -> Any:  # noqa: ANN401 - os.unlink
        def delete(path: Any, *, dir_fd: int | None = None) -> None:  # noqa: ANN401 - what it takes
            if self._open:
                self._seen_deletions().file(original, path, dir_fd)
            else:  # somebody has kept it
                original(path, dir_fd=dir_fd)

        # shutil asks, when it is imported, whether this one can be trusted with folders.
        os.supports_dir_fd.add(delete)
        self._seams.also(lambda: os.supports_dir_fd.discard(delete))
        return delete

    def _seen_deletions(self) -> Deletions:
        from coldstart_sdk.recorder.deletions import Deletions  # noqa: PLC0415 - as above

        with self._lock:
            if self._deletions is None:
                self._deletions = Deletions(self._sink)
            return self._deletions

    def _asking_the_shell(self, original: Any) -> Any:  # noqa: ANN401 - os.system
        def system(command: Any) -> int:  # noqa: ANN401 - what it takes
            from coldstart_sdk.recorder import programs  # noqa: PLC0415 - as above

            return programs.waited(original, command, self._sink)

        return system

    def _watch_tensors(self, module: ModuleType) -> None:
        from coldstart_sdk.recorder.tensors import Tensors  # noqa: PLC0415 - as above

        if self._tensors is None:
            self._tensors = Tensors(self._sink, self._seams, self._project)
        self._tensors.watch(module)

    def _tell_wires(self, step: str | None) -> None:
        if self._wires:
            self._wires.tell(step)

    def _watch_calls(self) -> None:
        if not self._watches_calls and self._spec and self._made and self._made.instance is not None:
            from coldstart_sdk.recorder import endpoints  # noqa: PLC0415 - as above

            self._watches_calls = True
            endpoints.watch(self._sink, self._seams, self._made.instance, self._spec.endpoints)

    def _look_around(self) -> None:
        """What takes a while to find out, once nobody waits for READY any more."""
        if self._looking is None:
            self._looking = threading.Thread(target=self._look, name="coldstart-recorder", daemon=True)
            self._looking.start()

    def _look(self) -> None:
        from coldstart_sdk.recorder import unused  # noqa: PLC0415 - brings ast, which no start has a use for

        idle, used = unused.packages(self._project)
        facts = cache_key(self._home, self._name)
        if idle:
            facts |= {UNUSED: ",".join(sorted(idle)), USED: ",".join(sorted(used))}
        if facts:
            self._emit(FactsSeen(at_s=now(), facts=facts))

    def _starting(self, original: Any) -> Any:  # noqa: ANN401 - Thread.start
        sink = self._sink

        def start(thread: threading.Thread) -> None:
            sink.hand_down(thread)
            original(thread)

        return start
