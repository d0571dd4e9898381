"""What a caller asks: classes and functions, inputs, outputs, streams, blobs; and what looks after an app."""

# ruff: noqa: N802, ANN401 - the protocol's own names, and messages without types

from __future__ import annotations

import difflib
import time
from dataclasses import replace
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from coldstart_sdk.rehearsal.modal.deploying import function_data
from coldstart_sdk.rehearsal.modal.servicer import Room, not_found, reply, streaming, unary
from coldstart_sdk.rehearsal.modal.state import App, Call, Function, Input

LONG_POLL_S = 10.0


class Calling(Room):
    """Everything after a deployment."""

    @unary
    async def ClassGet(self, request: Any) -> Any:
        function = self._function(request.app_name, f"{request.object_tag}.*")
        class_id = self.world.apps[function.app].classes[request.object_tag]
        return api_pb2.ClassGetResponse(
            class_id=class_id,
            handle_metadata=api_pb2.ClassHandleMetadata(
                class_function_id=function.id, class_function_metadata=function.metadata
            ),
        )

    @unary
    async def FunctionGet(self, request: Any) -> Any:
        function = self._function(request.app_name, request.object_tag)
        return reply(
            api_pb2.FunctionGetResponse,
            function_id=function.id,
            handle_metadata=function.metadata,
            function=function_data(function.definition, function.metadata),
        )

    @unary
    async def FunctionBindParams(self, request: Any) -> Any:
        base = self.world.functions[request.function_id]
        options = request.function_options.SerializeToString(deterministic=True)
        for bound in self.world.functions.values():
            if bound.base == base.id and bound.parameters == request.serialized_params and not options:
                return _bound(bound)
        definition = api_pb2.Function()
        definition.CopyFrom(base.definition)
        bound = Function(
            id=self.world.ids.new("fu"),
            app=base.app,
            tag=base.tag,
            definition=definition,
            metadata=base.metadata,
            parameters=request.serialized_params,
            base=base.id,
        )
        self.world.functions[bound.id] = bound
        return _bound(bound)

    def _function(self, app_name: str, tag: str) -> Function:
        app = self.world.app_named(app_name)
        if app is None or tag not in app.functions:
            raise not_found(f"{tag!r} of the app {app_name!r}")
        return self.world.functions[app.functions[tag]]

    # ---- calls

    @unary
    async def FunctionMap(self, request: Any) -> Any:
        call = Call(id=self.world.ids.new("fc"), function=request.function_id)
        self.world.calls[call.id] = call
        items = await self._put(call, request.pipelined_inputs)
        return api_pb2.FunctionMapResponse(
            function_call_id=call.id,
            pipelined_inputs=items,
            function_call_jwt="rehearsal",
            sync_client_retries_enabled=False,
            max_inputs_outstanding=1000,
        )

    @unary
    async def FunctionPutInputs(self, request: Any) -> Any:
        items = await self._put(self.world.calls[request.function_call_id], request.inputs)
        return api_pb2.FunctionPutInputsResponse(inputs=items)

    async def _put(self, call: Call, items: Any) -> list[Any]:
        replies = []
        for item in items:
            put = Input(id=self.world.ids.new("in"), index=item.idx, message=item.input, call=call)
            call.inputs[put.id] = put
            await self.containers.submit(put)
            replies.append(
                api_pb2.FunctionPutInputsResponseItem(idx=item.idx, input_id=put.id, input_jwt="rehearsal")
            )
        return replies

    @unary
    async def FunctionGetOutputs(self, request: Any) -> Any:
        call = self.world.calls.get(request.function_call_id)
        if call is None:
            raise not_found(f"FunctionCall {request.function_call_id!r}")
        seen = _entry(request.last_entry_id)
        outputs = await call.outputs.after(seen, min(request.timeout, LONG_POLL_S))
        return api_pb2.FunctionGetOutputsResponse(
            outputs=outputs,
            idxs=[output.idx for output in outputs],
            last_entry_id=f"{seen + len(outputs)}-0",
            num_unfinished_inputs=len(call.inputs) - len(call.outputs.chunks),
        )

    @streaming
    async def FunctionCallGetDataOut(self, request: Any, send: Any) -> None:
        call = self.world.calls[request.function_call_id]
        seen = 0
        while not (call.said.ended and seen >= len(call.said.chunks)):
            for chunk in await call.said.after(seen, LONG_POLL_S):
                seen += 1
                if chunk.index > request.last_index:
                    await send(chunk)

    @unary
    async def FunctionCallCancel(self, request: Any) -> Any:
        await self.containers.cancel(self.world.calls[request.function_call_id])
        return Empty()

    # ---- blobs

    @unary
    async def BlobCreate(self, _: Any) -> Any:
        blob_id = self.world.ids.new("bl")
        url = f"{self.containers.web}/blobs/{blob_id}"
        return api_pb2.BlobCreateResponse(blob_ids=[blob_id], upload_urls=api_pb2.UploadUrlList(items=[url]))

    @unary
    async def BlobGet(self, request: Any) -> Any:
        return api_pb2.BlobGetResponse(download_url=f"{self.containers.web}/blobs/{request.blob_id}")

    # ---- looking after an app

    @unary
    async def AppList(self, _: Any) -> Any:
        return api_pb2.AppListResponse(
            apps=[
                api_pb2.AppListResponse.AppListItem(
                    app_id=app.id,
                    name=app.name,
                    description=app.name,
                    state=_state(app),
                    created_at=app.created_at,
                    n_running_tasks=len(self.containers.of_app(app)),
                )
                for app in self.world.apps.values()
            ]
        )

    @unary
    async def ObjectSuggest(self, request: Any) -> Any:
        """Asked from 1.6 on, when a name is not found."""
        names = [app.name for app in self.world.apps.values() if app.deployed and not app.stopped]
        found = api_pb2.ObjectSuggestResponse()
        if request.kind == request.OBJECT_SUGGEST_KIND_APP:
            for name in difflib.get_close_matches(request.query, names, n=max(1, request.limit)):
                found.suggestions.add(object_name=name)
        return found

    @unary
    async def AppDeploymentHistory(self, request: Any) -> Any:
        history = self.world.apps[request.app_id].history
        return api_pb2.AppDeploymentHistoryResponse(
            app_deployment_histories=[
                api_pb2.AppDeploymentHistory(
                    app_id=request.app_id,
                    version=release.version,
                    client_version=release.client,
                    deployed_at=release.deployed_at,
                    tag=release.tag,
                    rollback_version=release.rolled_back_to,
                    rollback_allowed=True,
                )
                for release in reversed(history)
            ],
            production_app_version=history[-1].version if history else 0,
        )

    @unary
    async def AppRollback(self, request: Any) -> Any:
        app = self.world.apps[request.app_id]
        wanted = request.version if request.version > 0 else len(app.history) + request.version
        back = next((each for each in app.history if each.version == wanted), None)
        if back is None:
            raise not_found(f"Version {request.version}")
        await self.containers.stop_app(app)
        app.functions, app.classes = dict(back.functions), dict(back.classes)
        self.world.put_back(back)
        app.history.append(
            replace(back, version=len(app.history) + 1, deployed_at=time.time(), rolled_back_to=wanted)
        )
        return getattr(api_pb2, "AppRollbackResponse", Empty)()  # older protocols answer with nothing

    @unary
    async def AppStop(self, request: Any) -> Any:
        app = self.world.apps[request.app_id]
        app.stopped = True
        await self.containers.stop_app(app)
        return Empty()

    @streaming
    async def AppGetLogs(self, request: Any, send: Any) -> None:
        app = self.world.apps[request.app_id]
        seen = _entry(request.last_entry_id)
        while True:
            for line in await self.world.lines.after(seen, 1.0):
                seen += 1
                if line.app == app.id:
                    await send(_batch(line, f"{seen}-0"))
            is_over = app.stopped and not self.containers.of_app(app)
            if is_over and seen >= len(self.world.lines.chunks):
                await send(api_pb2.TaskLogsBatch(app_done=True, entry_id=f"{seen}-0"))
                return

    @unary
    async def AppFetchLogs(self, request: Any) -> Any:
        lines = [line for line in self.world.lines.chunks if line.app == request.app_id]
        since = request.since.ToNanoseconds() / 1e9
        until = request.until.ToNanoseconds() / 1e9 or float("inf")
        within = [line for line in lines if since <= line.at <= until]
        return api_pb2.AppFetchLogsResponse(batches=[_batch(line, "") for line in within[-request.limit :]])

    @unary
    async def FunctionUpdateSchedulingParams(self, request: Any) -> Any:
        settings = self.world.functions[request.function_id].definition.autoscaler_settings
        for field, value in request.settings.ListFields():
            setattr(settings, field.name, value)
        return api_pb2.FunctionUpdateSchedulingParamsResponse()

    @unary
    async def FunctionGetCurrentStats(self, request: Any) -> Any:
        return api_pb2.FunctionStats(num_total_tasks=len(self.containers.of_function(request.function_id)))


def _entry(text: str) -> int:
    """How many entries a reader has seen; it counts as Redis does, from `0-0`."""
    return int(text.partition("-")[0] or "0")


def _bound(function: Function) -> Any:
    return api_pb2.FunctionBindParamsResponse(
        bound_function_id=function.id, handle_metadata=function.metadata
    )


def _state(app: App) -> Any:
    if app.stopped:
        return api_pb2.APP_STATE_STOPPED
    return api_pb2.APP_STATE_DEPLOYED if app.deployed else api_pb2.APP_STATE_EPHEMERAL


def _batch(line: Any, entry: str) -> Any:
    return api_pb2.TaskLogsBatch(
        task_id=line.task,
        entry_id=entry,
        function_id=line.function,
        items=[api_pb2.TaskLogs(data=line.text, timestamp=line.at, file_descriptor=line.stream)],
    )
