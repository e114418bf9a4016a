"""Golioth as far as it is used here; each request and answer is checked against its contract."""

import itertools
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.servers.contract import Contract, ContractViolationError
from tests.servers.http import HttpServer, Request, Response

CONTRACT = Path(__file__).parent.parent / "providers" / "contract" / "golioth-openapi.json"
START = datetime(2026, 1, 1, tzinfo=UTC)


class Made(Sequence[dict[str, Any]]):
    """Devices d0 to d<count - 1>, each made when it is asked for, and seen last `seen_s` seconds after START."""

    def __init__(self, count: int, seen_s: int = 50) -> None:
        self._numbers = range(count)
        self._seen_s = seen_s

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, index: Any) -> Any:
        found = self._numbers[index]
        return self._made(found) if isinstance(found, int) else [self._made(number) for number in found]

    def _made(self, number: int) -> dict[str, Any]:
        device = device_of(f"d{number}")
        device["lastReport"] = device["metadata"]["lastReport"] = _time(self._seen_s)
        return device


class MadeFleet(Mapping[str, dict[str, Any]]):
    """As many devices as needed, without keeping them; `cloud.devices = MadeFleet(50_000)`."""

    def __init__(self, count: int, seen_s: int = 50) -> None:
        self._made = Made(count, seen_s)

    def __len__(self) -> int:
        return len(self._made)

    def __iter__(self) -> Iterator[str]:
        return (f"d{number}" for number in range(len(self._made)))

    def __getitem__(self, device_id: str) -> dict[str, Any]:
        return self._made[int(device_id[1:])]  # type: ignore[no-any-return]

    def values(self) -> Made:  # type: ignore[override]
        return self._made


class Golioth:
    """A project. `devices` may be changed while it runs, also by `before_page`, called with the number of pages so far.

    `check_every`: check only one in so many pages of devices, where there are tens of thousands.
    """

    def __init__(self, api_key: str, project_id: str = "fleet", check_every: int = 1) -> None:
        self.api_key = api_key
        self.project_id = project_id
        self.devices: Any = {}
        self.tags = {"tag1": "field"}
        self.artifacts: dict[str, dict[str, Any]] = {}
        self.cohorts: dict[str, dict[str, Any]] = {}
        self.deployments: dict[str, dict[str, Any]] = {}
        self.credentials: dict[str, list[dict[str, Any]]] = {}
        self.before_page: Callable[[int], None] = lambda number: None
        self.first_page = 0
        self.per_page = 100
        self.pages = 0
        self.contract = Contract(CONTRACT)
        self.http = HttpServer(self._handle)
        self._check_every = check_every
        base = f"/v1/projects/{project_id}"
        cohorts = f"/v1/organizations/acme/projects/{project_id}/cohorts"
        self._routes: list[tuple[str, str, Callable[..., Response]]] = [
            ("GET", base, self._project),
            ("GET", f"{base}/devices", self._list_devices),
            ("GET", f"{base}/devices/([^/]+)", self._get_device),
            ("PATCH", f"{base}/devices/([^/]+)", self._patch_device),
            ("GET", f"{base}/devices/([^/]+)/credentials", self._list_credentials),
            ("GET", f"{base}/tags", self._list_tags),
            ("POST", f"{base}/tags", self._create_tag),
            ("GET", f"{base}/artifacts", self._list_artifacts),
            ("GET", f"{base}/artifacts/([^/]+)", self._get_artifact),
            ("GET", f"{cohorts}/([^/]+)", self._get_cohort),
            ("POST", f"{cohorts}/([^/]+)/deployments", self._create_deployment),
            ("GET", f"{cohorts}/([^/]+)/deployments/([^/]+)", self._get_deployment),
        ]

    def add(self, external_id: str, **changes: Any) -> dict[str, Any]:
        """Add a device, changed by keyword."""
        device = {**device_of(external_id), **changes}
        self.devices[external_id] = device
        return device

    async def _handle(self, request: Request) -> Response:
        operation = self.contract.operation(request)
        if request.headers.get("x-api-key") != self.api_key:
            response = _error(401, 16, f"invalid API key {request.headers.get('x-api-key')}")
        else:
            response = self._respond(request)
        listing = operation["operationId"] == "Devices_List" and self._check_every > 1
        if not listing or self.pages % self._check_every == 0:
            self.contract.check_answer(operation, response)
        return response

    def _respond(self, request: Request) -> Response:
        for method, pattern, handler in self._routes:
            found = re.fullmatch(pattern, request.path) if method == request.method else None
            if found:
                try:
                    return handler(request, *map(unquote, found.groups()))
                except KeyError as error:
                    return _error(404, 5, f"{error} not found")
        raise ContractViolationError(f"this fake has no {request.method} {request.path}")

    def _project(self, request: Request) -> Response:
        return _data({"id": self.project_id, "name": "The fleet", "organizationId": "acme"})

    def _list_devices(self, request: Request) -> Response:
        self.pages += 1
        self.before_page(self.pages)
        everything = request.query.keys() <= {"page", "perPage"}
        found = self.devices.values()
        return self._page(
            request, found if everything else [one for one in found if _matches(one, request.query)]
        )

    def _get_device(self, request: Request, device_id: str) -> Response:
        return _data(self.devices[device_id])

    def _patch_device(self, request: Request, device_id: str) -> Response:
        self.devices[device_id] = {**self.devices[device_id], **request.json()}
        return _data(self.devices[device_id])

    def _list_credentials(self, request: Request, device_id: str) -> Response:
        return Response(200, {"list": self.credentials[device_id]})

    def _list_tags(self, request: Request) -> Response:
        return self._page(request, [{"id": tag_id, "name": name} for tag_id, name in self.tags.items()])

    def _create_tag(self, request: Request) -> Response:
        tag_id = f"tag{len(self.tags) + 1}"
        self.tags[tag_id] = request.json()["name"]
        return _data({"id": tag_id, "name": self.tags[tag_id]})

    def _list_artifacts(self, request: Request) -> Response:
        return self._page(request, self.artifacts.values())

    def _get_artifact(self, request: Request, artifact_id: str) -> Response:
        return _data(self.artifacts[artifact_id])

    def _get_cohort(self, request: Request, cohort_id: str) -> Response:
        return _data(self.cohorts[cohort_id])

    def _create_deployment(self, request: Request, cohort_id: str) -> Response:
        deployment = {
            "deploymentId": f"dep{len(self.deployments) + 1}",
            "createdAt": _time(0),
            **request.json(),
        }
        self.deployments[deployment["deploymentId"]] = deployment
        self.cohorts[cohort_id]["activeDeploymentId"] = deployment["deploymentId"]
        return _data(deployment)

    def _get_deployment(self, request: Request, cohort_id: str, deployment_id: str) -> Response:
        return _data(self.deployments[deployment_id])

    def _page(self, request: Request, entries: Collection[dict[str, Any]]) -> Response:
        page, per_page = int(request.query["page"][0]), int(request.query["perPage"][0])
        if per_page > 100:
            return _error(400, 3, "perPage exceeds 100")
        per_page = min(per_page, self.per_page)
        start = max(0, page - self.first_page) * per_page
        end = start + per_page
        found = (
            entries[start:end] if isinstance(entries, Made) else list(itertools.islice(entries, start, end))
        )
        return Response(200, {"list": found, "page": page, "perPage": per_page, "total": len(entries)})


def device_of(external_id: str) -> dict[str, Any]:
    """A device as Golioth shows it."""
    return {
        "id": external_id,
        "name": f"SN-{external_id}",
        "hardwareIds": [f"hw-{external_id}"],
        "tagIds": ["tag1"],
        "cohortId": "cohort1",
        "blueprintId": "",
        "enabled": True,
        "data": {"battery": 77},
        "createdAt": _time(-3600),
        "updatedAt": _time(60),
        "lastReport": _time(50),
        "metadata": {
            "status": "-",
            "lastReport": _time(50),
            "lastSeenOnline": _time(30),
            "lastSeenOffline": _time(-60),
            "update": {"main": {"package": "main", "version": "1.2.3", "target": "1.2.3", "state": 0}},
        },
    }


def _matches(device: Mapping[str, Any], query: Mapping[str, list[str]]) -> bool:
    tags = query.get("tags", [])
    cohort = query.get("cohortId", [device.get("cohortId")])[0]
    return set(tags) <= set(device["tagIds"]) and cohort == device.get("cohortId")


def _time(seconds: int) -> str:
    return (START + timedelta(seconds=seconds)).isoformat().replace("+00:00", "Z")


def _data(value: Any) -> Response:
    return Response(200, {"data": value})


def _error(status: int, code: int, message: str) -> Response:
    return Response(status, {"code": code, "message": message, "details": []})
