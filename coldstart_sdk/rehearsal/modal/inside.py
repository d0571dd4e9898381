"""What a container asks: its inputs, where its outputs go, its volumes, and its snapshot."""

# ruff: noqa: N802, ANN401 - the protocol's own names, and messages without types

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, cast

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from coldstart_sdk.rehearsal.modal.servicer import Room, not_found, streaming, unary

if TYPE_CHECKING:
    from coldstart_sdk.rehearsal.modal.containers import Container
    from coldstart_sdk.rehearsal.modal.volumes import View

LONG_POLL_S = 5.0


class Inside(Room):
    """Asked through a container's own socket, which is how we know whose question it is."""

    @property
    def _me(self) -> Container:
        return cast("Container", self.container)

    @unary
    async def ContainerHello(self, _: Any) -> Any:
        return Empty()

    @unary
    async def ContainerHeartbeat(self, _: Any) -> Any:
        return api_pb2.ContainerHeartbeatResponse(cancel_input_event=self._me.cancellations())

    @unary
    async def FunctionGetInputs(self, _: Any) -> Any:
        taken = await self.containers.take(self._me, LONG_POLL_S)
        if self._me.stopping:
            item = api_pb2.FunctionGetInputsItem(kill_switch=True)
            return api_pb2.FunctionGetInputsResponse(inputs=[item])
        return api_pb2.FunctionGetInputsResponse(
            inputs=[
                api_pb2.FunctionGetInputsItem(
                    input_id=each.id, input=each.message, function_call_id=each.call.id
                )
                for each in taken
            ]
        )

    @unary
    async def FunctionPutOutputs(self, request: Any) -> Any:
        for item in request.outputs:
            await self.containers.answered(item)
        return Empty()

    @unary
    async def FunctionCallPutDataOut(self, request: Any) -> Any:
        await self.world.calls[request.function_call_id].said.put(*request.data_chunks)
        return Empty()

    @streaming
    async def FunctionCallGetDataIn(self, request: Any, send: Any) -> None:
        call = self.world.calls[request.function_call_id]
        seen = 0
        while not (call.given.ended and seen >= len(call.given.chunks)):
            for chunk in await call.given.after(seen, LONG_POLL_S):
                seen += 1
                if chunk.index > request.last_index:
                    await send(chunk)

    @unary
    async def FunctionGetDynamicConcurrency(self, _: Any) -> Any:
        return api_pb2.FunctionGetDynamicConcurrencyResponse(concurrency=self._me.concurrency)

    @unary
    async def TaskResult(self, request: Any) -> Any:
        await self.containers.failed(self._me, request.result)
        return Empty()

    @unary
    async def VolumeCommit(self, request: Any) -> Any:
        self._me.commits.append(request.volume_id)
        await asyncio.to_thread(self._view(request).commit)
        return api_pb2.VolumeCommitResponse()

    @unary
    async def VolumeReload(self, request: Any) -> Any:
        view = self._view(request)
        if (path := await asyncio.to_thread(self._me.open_below, view)) is not None:
            raise GRPCError(
                Status.FAILED_PRECONDITION, f"there are open files preventing the operation: {path}"
            )
        await asyncio.to_thread(view.commit)
        await asyncio.to_thread(view.follow)
        return Empty()

    def _view(self, request: Any) -> View:
        if (view := self._me.views.get(request.volume_id)) is None:
            raise not_found(f"Volume {request.volume_id!r}")
        return view

    @unary
    async def ContainerCheckpoint(self, _: Any) -> Any:
        self.containers.checkpointed(self._me)
        return Empty()
