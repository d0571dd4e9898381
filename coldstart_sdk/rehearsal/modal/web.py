"""The plane's HTTP side: blobs, and the way in to an app's web endpoints."""

# ruff: noqa: ANN401 - messages of the protocol have no types

from __future__ import annotations

import hashlib
import pickle
from typing import Any

from aiohttp import web
from modal_proto import api_pb2

from coldstart_sdk.rehearsal.modal.containers import Containers
from coldstart_sdk.rehearsal.modal.state import Call, Function, Input, World

MOST_BYTES = 1 << 30
PROXY_AUTH = ("modal-key", "modal-secret")
"""Headers that Modal's proxy asks for where an endpoint wants them."""


class Web:
    """One small server."""

    def __init__(self, world: World, containers: Containers) -> None:
        self._world = world
        self._containers = containers
        self._runner: web.AppRunner | None = None

    async def start(self) -> str:
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_put("/blobs/{blob}", self._put)
        app.router.add_get("/blobs/{blob}", self._get)
        app.router.add_route("*", "/{app}/{endpoint}{path:.*}", self._ingress)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        return f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        if self._runner:
            await self._runner.cleanup()

    async def _put(self, request: Any) -> Any:
        data = await request.read()
        self._world.blob(request.match_info["blob"]).write_bytes(data)
        md5 = hashlib.md5(data, usedforsecurity=False).hexdigest()
        return web.Response(headers={"ETag": f'"{md5}"'})

    async def _get(self, request: Any) -> Any:
        return web.FileResponse(self._world.blob(request.match_info["blob"]))

    # ---- an app's web endpoint

    async def _ingress(self, request: Any) -> Any:
        found = self._function(request.match_info["app"], request.match_info["endpoint"])
        if found is None:
            return web.Response(status=404, text="modal-http: app for invoked web endpoint is stopped\n")
        function, config = found
        if config.requires_proxy_auth and not all(request.headers.get(name) for name in PROXY_AUTH):
            return web.Response(status=401, text="modal-http: missing credentials for proxy authorization\n")
        call = await self._call(function, request)
        try:
            return await self._relay(call, request)
        finally:
            await call.given.put(
                _chunk(
                    len(call.given.chunks) + 1, api_pb2.Asgi(http_disconnect=api_pb2.Asgi.HttpDisconnect())
                )
            )

    def _function(self, app_id: str, endpoint: str) -> tuple[Function, Any] | None:
        app = self._world.apps.get(app_id)
        for function_id in app.functions.values() if app and not app.stopped else ():
            function = self._world.functions[function_id]
            method = function.definition.method_definitions.get(endpoint)
            if method is not None and method.webhook_config.type:
                return function, method.webhook_config
        return None

    async def _call(self, function: Function, request: Any) -> Call:
        call = Call(id=self._world.ids.new("fc"), function=function.id)
        self._world.calls[call.id] = call
        body = await request.read()
        message = api_pb2.Asgi(http_request=api_pb2.Asgi.HttpRequest(body=body, more_body=False))
        await call.given.put(_chunk(1, message))
        put = Input(
            id=self._world.ids.new("in"),
            index=0,
            message=api_pb2.FunctionInput(
                args=pickle.dumps(((_scope(request),), {})),
                data_format=api_pb2.DATA_FORMAT_PICKLE,
                method_name=request.match_info["endpoint"],
            ),
            call=call,
        )
        call.inputs[put.id] = put
        await self._containers.submit(put)
        return call

    async def _relay(self, call: Call, request: Any) -> Any:
        response = None
        seen = 0
        while True:
            chunks = await call.said.after(seen, 1.0)
            for chunk in chunks:
                seen += 1
                message = self._message(chunk)
                match message.WhichOneof("type"):
                    case "http_response_start":
                        response = web.StreamResponse(status=message.http_response_start.status)
                        flat = list(message.http_response_start.headers)
                        for name, value in zip(flat[::2], flat[1::2], strict=True):
                            response.headers.add(name.decode("latin-1"), value.decode("latin-1"))
                        await response.prepare(request)
                    case "http_response_body" if response is not None:
                        await response.write(message.http_response_body.body)
                        if not message.http_response_body.more_body:
                            await response.write_eof()
                            return response
                    case _:
                        pass
            if call.is_done and seen >= len(call.said.chunks):
                break
        if response is not None:
            return response
        result = call.outputs.chunks[0].result
        return web.Response(status=500, text=f"modal-http: internal error: {result.exception}\n")

    def _message(self, chunk: Any) -> Any:
        data = self._world.blob(chunk.data_blob_id).read_bytes() if chunk.data_blob_id else chunk.data
        return api_pb2.Asgi.FromString(data)


def _chunk(index: int, message: Any) -> Any:
    return api_pb2.DataChunk(
        data_format=api_pb2.DATA_FORMAT_ASGI, data=message.SerializeToString(), index=index
    )


def _scope(request: Any) -> dict[str, Any]:
    """The request as ASGI tells of it."""
    path = request.match_info["path"] or "/"
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.3"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https",
        "path": path,
        "raw_path": path.encode(),
        "query_string": request.query_string.encode(),
        "root_path": "",
        "headers": [(name.lower(), value) for name, value in request.raw_headers],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 443),
    }
