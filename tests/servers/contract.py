"""An OpenAPI document as a check of requests and their answers."""

import copy
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import jsonschema

from tests.servers.http import Request, Response


class ContractViolationError(AssertionError):
    """A request or an answer that the contract does not know."""


class Contract:
    """An OpenAPI document, made strict: a key or parameter that it does not name is a violation."""

    def __init__(self, document_path: Path) -> None:
        document = json.loads(document_path.read_text())
        self._components = _strict(copy.deepcopy(document["components"]))
        self._routes = [
            (re.compile(re.sub(r"\{[^}]+\}", "[^/]+", path) + "$"), operations)
            for path, operations in document["paths"].items()
        ]
        checker = jsonschema.FormatChecker(formats=())
        checker.checks("date-time", ValueError)(_is_date_time)
        self._checker = checker

    def operation(self, request: Request) -> Mapping[str, Any]:
        """Return the operation that a request calls, its parameters and body checked."""
        operations = next((found for route, found in self._routes if route.match(request.path)), None)
        operation = (operations or {}).get(request.method.lower())
        if operation is None:
            raise ContractViolationError(f"no operation {request.method} {request.path}")
        known = {one["name"]: one["schema"] for one in operation["parameters"] if one["in"] == "query"}
        for name, values in request.query.items():
            if name not in known:
                raise ContractViolationError(f"{operation['operationId']} has no parameter {name}")
            self._check_parameter(name, values, known[name])
        if request.body:
            schema = operation["requestBody"]["content"]["application/json"]["schema"]
            self.check(request.json(), schema, f"the body of {operation['operationId']}")
        return operation  # type: ignore[no-any-return]

    def check_answer(self, operation: Mapping[str, Any], response: Response) -> None:
        """Check an answer against the operation's schema for its status."""
        responses = operation["responses"]
        found = responses.get(str(response.status), responses["default"])
        self.check(
            response.body,
            found["content"]["application/json"]["schema"],
            f"the answer of {operation['operationId']}",
        )

    def check(self, value: Any, schema: Any, what: str) -> None:
        whole = {**schema, "components": self._components}
        try:
            jsonschema.Draft202012Validator(whole, format_checker=self._checker).validate(value)
        except jsonschema.ValidationError as error:
            raise ContractViolationError(f"{what}: {error.json_path}: {error.message}") from None

    def _check_parameter(self, name: str, values: list[str], schema: Mapping[str, Any]) -> None:
        casts: dict[str, Callable[[str], Any]] = {
            "integer": int,
            "boolean": {"true": True, "false": False}.__getitem__,
        }
        typed = [casts.get(schema.get("type", ""), str)(value) for value in values]
        if schema.get("type") != "array" and len(typed) != 1:
            raise ContractViolationError(f"the parameter {name} comes {len(typed)} times")
        self.check(typed if schema.get("type") == "array" else typed[0], schema, f"the parameter {name}")


def _strict(schema: Any) -> Any:
    """Close every object that lists its properties."""
    if isinstance(schema, dict):
        if isinstance(schema.get("properties"), dict) and schema.get("type") == "object":
            schema.setdefault("additionalProperties", False)
        for value in schema.values():
            _strict(value)
    elif isinstance(schema, list):
        for value in schema:
            _strict(value)
    return schema


def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or datetime.fromisoformat(value).tzinfo is not None
