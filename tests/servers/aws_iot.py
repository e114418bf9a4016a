# ruff: noqa: N803 - parameters are called as in the service model
"""AWS IoT as far as it is used here and moto cannot do it: connectivity, job progress, failures.

Each request and answer is checked against botocore's own model of the service.
"""

import functools
import json
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.parse import unquote

import botocore.session
from botocore.validate import ParamValidator

from tests.servers.http import HttpServer, Request, Response

ERRORS = {401: "UnauthorizedException", 429: "ThrottlingException", 500: "InternalFailureException"}
"""The names that the service model has for these, sent as x-amzn-errortype."""


class ModelViolationError(AssertionError):
    """A request or an answer that the service model does not know."""


@functools.cache
def service_model() -> "ServiceModel":
    """Load the model once."""
    return ServiceModel()


class ServiceModel:
    """The model of `iot`, as botocore ships it."""

    def __init__(self) -> None:
        model = botocore.session.get_session().get_service_model("iot")
        self._operations = []
        for name in model.operation_names:
            operation = model.operation_model(name)
            pattern = re.sub(r"\{(\w+)\}", r"(?P<\1>[^/]+)", operation.http["requestUri"].partition("?")[0])
            self._operations.append((operation.http["method"], re.compile(pattern + "$"), operation))

    def parse(self, request: Request) -> tuple[Any, dict[str, Any]]:
        """Return the operation and its checked parameters."""
        for method, pattern, operation in self._operations:
            found = pattern.match(request.path) if method == request.method else None
            if found:
                parameters = self._parameters(operation.input_shape, request, found.groupdict())
                self._check(parameters, operation.input_shape, f"the request {operation.name}")
                return operation, parameters
        raise ModelViolationError(f"no operation {request.method} {request.path}")

    def answer(self, operation: Any, output: Mapping[str, Any]) -> Response:
        """Return an answer of the operation, checked."""
        self._check(dict(output), operation.output_shape, f"the answer of {operation.name}")
        return Response(200, json.loads(json.dumps(output, default=lambda at: at.timestamp())))

    def _parameters(self, shape: Any, request: Request, path: Mapping[str, str]) -> dict[str, Any]:
        parameters: dict[str, Any] = {}
        body = request.json() if request.body else {}
        for name, member in shape.members.items():
            where, key = member.serialization.get("location"), member.serialization.get("name", name)
            if where == "uri":
                parameters[name] = unquote(path[key])
            elif where == "querystring" and key in request.query:
                text = request.query[key][0]
                parameters[name] = int(text) if member.type_name in ("integer", "long") else text
            elif where is None and key in body:
                parameters[name] = body.pop(key)
        if where is None and body:
            raise ModelViolationError(f"{shape.name} has no {', '.join(body)}")
        return parameters

    def _check(self, value: dict[str, Any], shape: Any, what: str) -> None:
        report = ParamValidator().validate(value, shape)
        unknown = value.keys() - shape.members.keys()
        if report.has_errors() or unknown:
            raise ModelViolationError(f"{what}: {report.generate_report()} {', '.join(unknown)}")


class AwsIot:
    """One account and region."""

    def __init__(self, access_key_id: str) -> None:
        self.access_key_id = access_key_id
        self.things: dict[str, dict[str, Any]] = {}
        self.jobs: dict[str, dict[str, Any]] = {}
        self.executions: dict[tuple[str, str], dict[str, Any]] = {}
        self.per_page = 2
        self.pages = 0
        self.overlapping = False
        self.before_page: Callable[[int], None] = lambda number: None
        self.http = HttpServer(self._handle)
        self._model = service_model()
        self._tokens = {""}

    def add(self, name: str, connected: bool = True, at_ms: int = 1_767_225_630_000, **changes: Any) -> None:
        """Add a thing with a document in the fleet index."""
        reported = {"battery": 81, "rssi": -70, "firmware": {"main": "1.2.3"}}
        stamps = {
            "battery": {"timestamp": 1767225601},
            "rssi": {"timestamp": 1767225602},
            "firmware": {"main": {"timestamp": 1767225603}},
        }
        self.things[name] = {
            "thingName": name,
            "thingId": f"id-{name}",
            "thingTypeName": "sensor",
            "attributes": {
                "serial_number": f"SN-{name}",
                "hardware_ids": f"hw-{name}",
                "tags": "field",
                "site": "x",
            },
            "shadow": json.dumps({"reported": reported, "metadata": {"reported": stamps}, "version": 1}),
            "connectivity": {"connected": connected, "timestamp": at_ms},
            **changes,
        }

    async def _handle(self, request: Request) -> Response:
        operation, parameters = self._model.parse(request)
        authorization = request.headers.get("authorization", "")
        if f"Credential={self.access_key_id}/" not in authorization:
            return error(401, f"not {authorization}")
        name = operation.name
        if parameters.get("nextToken", "") not in self._tokens:
            return error(400, "the token is not valid", "InvalidRequestException")
        try:
            output = getattr(self, "_" + re.sub(r"(?<!^)(?=[A-Z])", "_", name).lower())(**parameters)
        except FileExistsError:
            return error(409, "the job exists", "ResourceAlreadyExistsException")
        except KeyError as missing:
            return error(404, f"{missing} not found", "ResourceNotFoundException")
        return self._model.answer(operation, output)

    def _list_things(self, maxResults: int, nextToken: str = "") -> dict[str, Any]:
        page = self._slice(maxResults, nextToken)
        keep = ("thingName", "thingTypeName", "attributes")
        return {**page, "things": [{key: thing[key] for key in keep} for thing in page["things"]]}

    def _search_index(
        self,
        indexName: str,
        queryString: str,
        maxResults: int,
        nextToken: str = "",
    ) -> dict[str, Any]:
        assert maxResults <= 100, "SearchIndex takes no more, and the model does not say so"
        if queryString == "*":
            return self._slice(maxResults, nextToken)
        name = re.fullmatch(r'thingName:"([^"]+)"', queryString)
        assert name, queryString
        return {"things": [thing for thing in self.things.values() if thing["thingName"] == name[1]]}

    def _slice(self, count: int, token: str) -> dict[str, Any]:
        self.pages += 1
        self.before_page(self.pages)
        names = sorted(name for name in self.things if name > token or (self.overlapping and name == token))
        page = names[: min(count, self.per_page)]
        following = {"nextToken": page[-1]} if len(page) < len(names) else {}
        self._tokens |= set(following.values())
        return {"things": [self.things[name] for name in page], **following}

    def _describe_thing(self, thingName: str) -> dict[str, Any]:
        thing = self.things[thingName]
        own = {key: thing[key] for key in ("thingName", "thingId", "thingTypeName", "attributes")}
        return {**own, "thingArn": f"arn:aws:iot:eu-central-1:1:thing/{thingName}", "version": 1}

    def _update_thing(self, thingName: str, attributePayload: dict[str, Any]) -> dict[str, Any]:
        assert attributePayload["merge"] is True
        merged = {**self.things[thingName]["attributes"], **attributePayload["attributes"]}
        self.things[thingName]["attributes"] = {key: value for key, value in merged.items() if value}
        return {}

    def _get_thing_connectivity_data(self, thingName: str) -> dict[str, Any]:
        found = self.things[thingName]["connectivity"]
        at = datetime.fromtimestamp(found["timestamp"] / 1000, UTC)
        reason = "NONE" if found["connected"] else "MQTT_KEEP_ALIVE_TIMEOUT"
        answer = {"thingName": thingName, "connected": found["connected"], "disconnectReason": reason}
        return {**answer, "timestamp": at}

    def _create_job(self, jobId: str, targets: list[str], **rest: Any) -> dict[str, Any]:
        if jobId in self.jobs:
            raise FileExistsError(jobId)
        self.jobs[jobId] = {"targets": targets, **rest}
        for target in targets:
            name = target.rpartition("/")[2]
            self.executions[jobId, name] = {"jobId": jobId, "status": "QUEUED"}
        return {"jobId": jobId, "jobArn": f"arn:aws:iot:eu-central-1:1:job/{jobId}"}

    def _describe_job_execution(self, jobId: str, thingName: str) -> dict[str, Any]:
        return {"execution": self.executions[jobId, thingName]}


def error(status: int, message: str, kind: str | None = None) -> Response:
    """An error as the service sends it."""
    headers = {"x-amzn-errortype": kind or ERRORS[status]}
    return Response(status, {"message": message}, headers)
