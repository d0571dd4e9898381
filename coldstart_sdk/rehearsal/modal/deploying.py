"""What `modal deploy` asks: apps, images, mounts, volumes, secrets, functions and classes."""

# ruff: noqa: N802, ANN401 - the protocol's own names, and messages without types

from __future__ import annotations

import hashlib
import time
from typing import Any

from google.protobuf.empty_pb2 import Empty
from modal_proto import api_pb2

from coldstart_sdk.rehearsal.modal.servicer import Room, not_found, reply, unary
from coldstart_sdk.rehearsal.modal.state import App, Function, Image, Mount, Release
from coldstart_sdk.rehearsal.modal.volumes import Volume

BUILDER = "2025.06"
_CREATE_IF_MISSING = {
    api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING,
    api_pb2.OBJECT_CREATION_TYPE_CREATE_FAIL_IF_EXISTS,
    api_pb2.OBJECT_CREATION_TYPE_CREATE_OVERWRITE_IF_EXISTS,
}


class Deploying(Room):
    """Everything up to AppPublish."""

    @unary
    async def ClientHello(self, _: Any) -> Any:
        return api_pb2.ClientHelloResponse()

    @unary
    async def EnvironmentGetOrCreate(self, request: Any) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=BUILDER)
        name = request.deployment_name or "main"
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-000000000001",
            metadata=api_pb2.EnvironmentMetadata(name=name, settings=settings),
        )

    @unary
    async def AppGetByDeploymentName(self, request: Any) -> Any:
        app = self.world.app_named(request.name)
        if app is None:
            return api_pb2.AppGetByDeploymentNameResponse()
        found = reply(api_pb2.AppGetByDeploymentNameResponse, app_id=app.id, environment_name="main")
        if "lifecycle" in found.DESCRIPTOR.fields_by_name:
            found.lifecycle.app_state = api_pb2.APP_STATE_DEPLOYED
        return found

    @unary
    async def AppCreate(self, request: Any) -> Any:
        app = App(id=self.world.ids.new("ap"), name=request.description, environment=request.environment_name)
        self.world.apps[app.id] = app
        return api_pb2.AppCreateResponse(
            app_id=app.id,
            app_page_url=f"http://rehearsal/{app.id}",
            app_logs_url=f"http://rehearsal/{app.id}",
        )

    @unary
    async def AppGetLayout(self, request: Any) -> Any:
        return api_pb2.AppGetLayoutResponse(
            app_layout=self.containers.layout(self.world.apps[request.app_id])
        )

    @unary
    async def AppHeartbeat(self, _: Any) -> Any:
        return Empty()

    @unary
    async def AppClientDisconnect(self, request: Any) -> Any:
        app = self.world.apps.get(request.app_id)
        if app and not app.deployed:
            app.stopped = True
            await self.containers.stop_app(app)
        return Empty()

    @unary
    async def AppPublish(self, request: Any) -> Any:
        app = self.world.apps[request.app_id]
        app.name = request.name or app.name
        app.deployed = request.app_state == api_pb2.APP_STATE_DEPLOYED
        app.functions, app.classes = dict(request.function_ids), dict(request.class_ids)
        if app.deployed:
            await self.containers.stop_app(app)
            app.history.append(
                Release(
                    version=len(app.history) + 1,
                    functions=dict(request.function_ids),
                    classes=dict(request.class_ids),
                    deployed_at=time.time(),
                    tag=request.deployment_tag,
                    client=request.client_version,
                    definitions=self.world.as_now(request.function_ids),
                )
            )
        return reply(api_pb2.AppPublishResponse, url=f"http://rehearsal/{app.id}", deployed_at=time.time())

    # ---- what a function stands on

    @unary
    async def SecretGetOrCreate(self, request: Any) -> Any:
        if request.env_dict:
            secret = self.world.add_secret(request.deployment_name, dict(request.env_dict))
            return api_pb2.SecretGetOrCreateResponse(secret_id=secret.id)
        found = [each for each in self.world.secrets.values() if each.name == request.deployment_name]
        if not found:
            raise not_found(f"Secret {request.deployment_name!r}")
        if missing := [key for key in request.required_keys if key not in found[-1].values]:
            raise not_found(f"Secret {request.deployment_name!r} has no key {missing[0]!r}, which was")
        return api_pb2.SecretGetOrCreateResponse(secret_id=found[-1].id)

    @unary
    async def MountGetOrCreate(self, request: Any) -> Any:
        files = {file.filename: file.sha256_hex for file in request.files}
        mount = Mount(id=self.world.ids.new("mo"), files=files)
        self.world.mounts[mount.id] = mount
        return api_pb2.MountGetOrCreateResponse(
            mount_id=mount.id,
            handle_metadata=api_pb2.MountHandleMetadata(content_checksum_sha256_hex="0" * 64),
        )

    @unary
    async def MountBatchedCheckExistence(self, request: Any) -> Any:
        missing = [name for name in request.sha256_hex_hashes if not self.world.blob(name).exists()]
        return api_pb2.MountBatchedCheckExistenceResponse(missing_sha256_hex_hashes=missing)

    @unary
    async def MountPutFile(self, request: Any) -> Any:
        file = self.world.blob(request.sha256_hex)
        if request.data_blob_id:
            file.write_bytes(self.world.blob(request.data_blob_id).read_bytes())
        elif request.WhichOneof("data_oneof") == "data":
            file.write_bytes(request.data)
        return api_pb2.MountPutFileResponse(exists=file.exists())

    @unary
    async def VolumeGetOrCreate(self, request: Any) -> Any:
        volume = self._volume(request.deployment_name)
        if volume is None:
            if request.object_creation_type not in _CREATE_IF_MISSING:
                raise not_found(f"Volume {request.deployment_name!r}")
            volume = Volume(
                id=self.world.ids.new("vo"),
                name=request.deployment_name,
                folder=self.world.folder / "volumes" / request.deployment_name,
                version=request.version or api_pb2.VOLUME_FS_VERSION_V1,
            )
            volume.folder.mkdir(parents=True, exist_ok=True)
            self.world.volumes[volume.id] = volume
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=volume.id,
            version=volume.version,
            metadata=api_pb2.VolumeMetadata(version=volume.version, name=volume.name),
        )

    def _volume(self, name: str) -> Volume | None:
        return next((volume for volume in self.world.volumes.values() if volume.name == name), None)

    @unary
    async def ImageGetOrCreate(self, request: Any) -> Any:
        digest = hashlib.sha256(request.image.SerializeToString(deterministic=True)).hexdigest()
        image = Image(id=f"im-{digest[:22]}", message=request.image)
        self.world.images[image.id] = image
        return api_pb2.ImageGetOrCreateResponse(
            image_id=image.id,
            result=api_pb2.GenericResult(status=api_pb2.GenericResult.GENERIC_STATUS_SUCCESS),
            metadata=api_pb2.ImageMetadata(image_builder_version=BUILDER, python_version_info="3.11"),
        )

    # ---- functions and classes

    @unary
    async def FunctionPrecreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self.world.ids.new("fu")
        metadata = _metadata(request, function_id, self._url(request.app_id))
        return api_pb2.FunctionPrecreateResponse(function_id=function_id, handle_metadata=metadata)

    @unary
    async def FunctionCreate(self, request: Any) -> Any:
        definition = _definition(request)
        function_id = request.existing_function_id or self.world.ids.new("fu")
        metadata = _metadata(definition, function_id, self._url(request.app_id))
        self.world.functions[function_id] = Function(
            id=function_id,
            app=request.app_id,
            tag=definition.function_name,
            definition=definition,
            metadata=metadata,
        )
        return reply(
            api_pb2.FunctionCreateResponse,
            function_id=function_id,
            function=definition,
            handle_metadata=metadata,
            function_data=function_data(definition, metadata),
        )

    @unary
    async def ClassCreate(self, request: Any) -> Any:
        class_id = request.existing_class_id or self.world.ids.new("cs")
        return api_pb2.ClassCreateResponse(class_id=class_id, handle_metadata=api_pb2.ClassHandleMetadata())

    @unary
    async def TaskList(self, _: Any) -> Any:
        return api_pb2.TaskListResponse()

    def _url(self, app_id: str) -> str:
        return f"{self.containers.web}/{app_id}"


def _definition(request: Any) -> Any:
    """The function; where a list of GPUs was asked for, with the first of them."""
    if not request.HasField("function_data"):
        return request.function
    data = request.function_data
    definition = api_pb2.Function()
    definition.CopyFrom(data.ranked_functions[0].function)
    for field, value in data.ListFields():
        if field.name == "ranked_functions" or field.name not in definition.DESCRIPTOR.fields_by_name:
            continue
        if field.is_repeated:
            definition.ClearField(field.name)
            getattr(definition, field.name).MergeFrom(value)
        elif field.message_type:
            getattr(definition, field.name).CopyFrom(value)
        else:
            setattr(definition, field.name, value)
    return definition


def function_data(definition: Any, metadata: Any) -> Any:
    """The same again, in the form that clients from 1.6 on read."""
    data = api_pb2.FunctionData(
        ranked_functions=[api_pb2.FunctionData.RankedFunction(rank=0, function=definition)]
    )
    for name in ("module_name", "function_name", "function_type", "is_class", "timeout_secs"):
        setattr(data, name, getattr(definition, name))
    data.autoscaler_settings.CopyFrom(definition.autoscaler_settings)
    data.web_url = metadata.web_url
    for name, method in definition.method_definitions.items():
        data.method_definitions[name].CopyFrom(method)
        data.method_definitions[name].web_url = metadata.method_handle_metadata[name].web_url
    return data


def _metadata(source: Any, function_id: str, url: str) -> Any:
    """What a caller must know of the function."""
    metadata = api_pb2.FunctionHandleMetadata(
        function_name=source.function_name,
        function_type=source.function_type,
        definition_id=f"de-{function_id[3:]}",
        supported_input_formats=source.supported_input_formats,
        supported_output_formats=source.supported_output_formats,
    )
    for name in ("class_parameter_info", "function_schema"):
        if hasattr(source, name) and source.HasField(name):
            getattr(metadata, name).CopyFrom(getattr(source, name))
    if source.webhook_config.type:
        metadata.web_url = f"{url}/{source.function_name}"
    for name, method in source.method_definitions.items():
        metadata.method_handle_metadata[name].CopyFrom(
            api_pb2.FunctionHandleMetadata(
                function_name=method.function_name,
                function_type=method.function_type,
                is_method=True,
                use_method_name=name,
                web_url=f"{url}/{name}" if method.webhook_config.type else "",
                function_schema=method.function_schema,
                supported_input_formats=method.supported_input_formats,
                supported_output_formats=method.supported_output_formats,
            )
        )
    return metadata
