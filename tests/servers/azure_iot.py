"""An IoT Hub as far as it is used here: it checks signature, expiry, api-version and If-Match."""

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import unquote, unquote_plus

from tests.servers.http import HttpServer, Request, Response

API_VERSION = "2021-04-12"
NEVER = "0001-01-01T00:00:00Z"


class AzureIot:
    """One hub with one policy. What the client must never do fails the test."""

    def __init__(self, key: bytes, host: str = "hub.azure-devices.net", policy: str = "rollcall") -> None:
        self.key = key
        self.host = host
        self.policy = policy
        self.twins: dict[str, dict[str, Any]] = {}
        self.identities: dict[str, dict[str, Any]] = {}
        self.per_page = 2
        self.pages = 0
        self.overlapping = False
        self.before_page: Callable[[int], None] = lambda number: None
        self.before_patch: Callable[[dict[str, Any]], None] = lambda twin: None
        self.tokens: set[str] = set()
        self.deployed: set[str] = set()
        self.http = HttpServer(self._handle)
        self._writes = 1
        self._continuations = {"": ""}

    @property
    def connection_string(self) -> str:
        key = base64.b64encode(self.key).decode()
        return f"HostName={self.host};SharedAccessKeyName={self.policy};SharedAccessKey={key}"

    def add(self, device_id: str, connected: bool = True, **changes: Any) -> None:
        """Add a device: its twin and its identity, changed by keyword."""
        state = {
            "deviceId": device_id,
            "connectionState": "Connected" if connected else "Disconnected",
            "lastActivityTime": "2026-01-01T00:00:20.1234567Z",
            **changes,
        }
        stamps = {"$lastUpdated": "2026-01-01T00:00:05Z", "battery": {"$lastUpdated": "2026-01-01T00:00:01Z"}}
        stamps["firmware"] = {"$lastUpdated": "2026-01-01T00:00:03Z"}
        self.twins[device_id] = {
            "etag": "AAAAAAAAAAE=",
            "status": "enabled",
            "statusUpdateTime": NEVER,
            "version": 2,
            "tags": {
                "serial_number": f"SN-{device_id}",
                "hardware_ids": [f"hw-{device_id}"],
                "tags": ["field"],
                "site": "x",
            },
            "properties": {
                "desired": {"$metadata": {"$lastUpdated": NEVER}, "$version": 1},
                "reported": {"battery": 82, "firmware": "1.2.3", "$metadata": stamps, "$version": 4},
            },
            **state,
        }
        since = {"connectionStateUpdatedTime": "2026-01-01T00:00:10Z", "statusReason": None}
        self.identities[device_id] = {"generationId": "1", **since, **state}

    async def _handle(self, request: Request) -> Response:
        assert request.query["api-version"] == [API_VERSION], request.query
        if (refusal := self._refusal(request.headers.get("authorization", ""))) is not None:
            return error(401, "IotHubUnauthorizedAccess", refusal)
        kind, _, name = request.path.strip("/").partition("/")
        if (request.method, request.path) == ("POST", "/devices/query"):
            return self._query(request)
        table = {"twins": self.twins, "devices": self.identities}[kind]
        found = table.get(unquote(name))
        if found is None:
            return error(404, "DeviceNotFound", name)
        if request.method == "GET":
            return Response(200, found)
        assert (request.method, kind) == ("PATCH", "twins"), request
        return self._patch(request, found)

    def _refusal(self, authorization: str) -> str | None:
        scheme, _, rest = authorization.partition(" ")
        assert scheme == "SharedAccessSignature", "the wrong scheme"
        fields = dict(part.split("=", 1) for part in rest.split("&"))
        self.tokens.add(authorization)
        signed = f"{fields['sr']}\n{fields['se']}".encode()
        expected = base64.b64encode(hmac.new(self.key, signed, hashlib.sha256).digest()).decode()
        if unquote(fields["sr"]) != self.host or fields["skn"] != self.policy:
            return "another resource or policy"
        if int(fields["se"]) <= time.time():
            return "expired"
        return None if unquote_plus(fields["sig"]) == expected else f"bad signature {fields['sig']}"

    def _query(self, request: Request) -> Response:
        assert request.json() == {"query": "SELECT * FROM devices"}
        token = request.headers.get("x-ms-continuation", "")
        if token not in self._continuations:
            return error(400, "ArgumentInvalid", "the continuation is not valid")
        after = self._continuations[token]
        self.pages += 1
        self.before_page(self.pages)
        ids = sorted(one for one in self.twins if one > after or (self.overlapping and one == after))
        page = ids[: min(self.per_page, int(request.headers["x-ms-max-item-count"]))]
        more = {"x-ms-continuation": self._continue_after(page[-1])} if len(page) < len(ids) else {}
        return Response(200, [self.twins[one] for one in page], {"x-ms-item-type": "Twin", **more})

    def _continue_after(self, device_id: str) -> str:
        token = base64.b64encode(device_id.encode()).decode()
        self._continuations[token] = device_id
        return token

    def _patch(self, request: Request, twin: dict[str, Any]) -> Response:
        self.before_patch(twin)
        if request.headers["if-match"] != f'"{twin["etag"]}"':
            return error(412, "PreconditionFailed", "etag")
        body = request.json()
        assert body.keys() <= {"tags", "properties"}, body
        _merge(twin["tags"], body.get("tags", {}))
        desired = body.get("properties", {}).get("desired", {})
        _merge(twin["properties"]["desired"], desired)
        for name, components in desired.items():
            self.deployed |= {entry["deployment"] for entry in components.values()}
            twin["properties"]["desired"]["$metadata"][name] = {"$lastUpdated": "2026-01-02T00:00:00Z"}
        self.touch(twin)
        return Response(200, twin)

    def touch(self, twin: dict[str, Any]) -> None:
        """Give a twin a new etag, as any write does."""
        self._writes += 1
        twin["etag"] = base64.b64encode(self._writes.to_bytes(8, "big")).decode()


def _merge(target: dict[str, Any], changes: dict[str, Any]) -> None:
    """Merge as twins do: objects key by key, null removes."""
    for name, value in changes.items():
        if value is None:
            target.pop(name, None)
        elif isinstance(value, dict) and isinstance(target.get(name), dict):
            _merge(target[name], value)
        else:
            target[name] = value


def error(status: int, code: str, message: str) -> Response:
    """An error as a hub sends it."""
    told = {"Message": f"ErrorCode:{code};{message}", "ExceptionMessage": "Tracking ID:0"}
    return Response(status, told)
