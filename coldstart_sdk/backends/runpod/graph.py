"""What REST v2 has no route for, over RunPod's GraphQL: which secrets there are, and models in hosts' caches.

RunPod ends GraphQL in early 2027. Nothing else asks for it, so the day that REST v2 has both, this file goes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from coldstart_sdk.backends.runpod.client import Client
from coldstart_sdk.errors import PlatformError
from coldstart_sdk.redact import redact

_PATH = "/graphql"
_SECRETS = "query mySecrets { myself { secrets { id name } } }"
# Saving is no patch: what is left out is reset (`workersMax` 7 became 3). So everything that can be read is
# sent back as it was. The fields are those that RunPod's own command line and MCP server echo.
_PLAIN = (
    *("id", "name", "type", "templateId", "gpuIds", "gpuCount", "instanceIds", "workersMin", "workersMax"),
    *("locations", "networkVolumeId", "idleTimeout", "scalerType", "scalerValue", "executionTimeoutMs"),
    *("minCudaVersion", "allowedCudaVersions", "compliance", "flashBootType", "modelReferences"),
)
_VOLUMES = "networkVolumeIds"
_ENDPOINTS = (
    f"query myEndpoints {{ myself {{ endpoints {{ {' '.join(_PLAIN)} "
    f"{_VOLUMES} {{ networkVolumeId dataCenterId }} }} }} }}"
)
_SAVE = "mutation saveEndpoint($input: EndpointInput!) { saveEndpoint(input: $input) { id modelReferences } }"


class Graph:
    """The two things that are asked there."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def secrets(self) -> frozenset[str]:
        """The names of the account's secrets."""
        told = self._asked(_SECRETS)["myself"].get("secrets") or ()
        return frozenset(str(secret["name"]) for secret in told)

    def models(self, endpoint: str) -> tuple[str, ...]:
        """The models that hosts bring before a worker of this endpoint starts."""
        return tuple(self._endpoint(endpoint).get("modelReferences") or ())

    def attach(self, endpoint: str, models: Sequence[str]) -> tuple[str, ...]:
        """Have hosts bring these; as RunPod then names them, pinned."""
        live = self._endpoint(endpoint)
        kept = {field: live[field] for field in _PLAIN if live.get(field) is not None}
        if volumes := live.get(_VOLUMES):
            # Read with their data centre, written without it.
            kept[_VOLUMES] = [{"networkVolumeId": each["networkVolumeId"]} for each in volumes]
        saved = self._asked(_SAVE, {"input": {**kept, "modelReferences": list(models)}})["saveEndpoint"]
        return tuple(saved.get("modelReferences") or ())

    def _endpoint(self, endpoint: str) -> Mapping[str, Any]:
        known = self._asked(_ENDPOINTS)["myself"]["endpoints"]
        found: Mapping[str, Any] | None = next((each for each in known if each["id"] == endpoint), None)
        if found is None:
            raise PlatformError(
                f"RunPod's GraphQL does not know the endpoint {endpoint}", fix="Try again in a minute."
            )
        return found

    def _asked(self, query: str, variables: Mapping[str, Any] | None = None) -> Any:  # noqa: ANN401 - plain JSON
        told = self._client.post(_PATH, {"query": query, **({"variables": variables} if variables else {})})
        if errors := told.get("errors"):
            raise PlatformError(
                redact(f"RunPod's GraphQL refused: {errors[0].get('message')}"),
                fix="If it stays, look at the endpoint in RunPod's console.",
                where=_PATH,
            )
        return told["data"]
