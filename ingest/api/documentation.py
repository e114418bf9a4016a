"""The page /docs: the OpenAPI document as plain HTML, without a script and without anything from elsewhere."""

import base64
import hashlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from html import escape
from typing import Any

import orjson
from fastapi import FastAPI, Request
from starlette.responses import HTMLResponse, Response

METHODS = ("get", "post", "put", "patch", "delete")
STYLE = """body{font:16px/1.5 sans-serif;max-width:60em;margin:2em auto;padding:0 1em;color:#222}
code,pre{font-family:monospace;font-size:14px}pre{background:#f4f4f4;padding:.7em;overflow:auto}
summary{cursor:pointer;padding:.3em 0}summary b{display:inline-block;width:5em}
details{border-bottom:1px solid #ddd;padding-bottom:.3em}
td{text-align:left;padding:.1em 1em .1em 0;vertical-align:top}"""
_DIGEST = base64.b64encode(hashlib.sha256(STYLE.encode()).digest()).decode()
POLICY = f"default-src 'none'; style-src 'sha256-{_DIGEST}'; frame-ancestors 'none'"


def serve_documentation(app: FastAPI, path: str = "/docs") -> None:
    """Serve the page; it is made at the first request."""
    pages: list[str] = []

    async def documentation(_: Request) -> Response:
        if not pages:
            pages.append(page_of(app.openapi()))
        return HTMLResponse(pages[0], headers={"content-security-policy": POLICY})

    app.add_route(path, documentation, ["GET"], include_in_schema=False)


def page_of(document: Mapping[str, Any]) -> str:
    """Return an OpenAPI document as a page."""
    info, groups = document["info"], defaultdict[str, list[str]](list)
    for path, operations in document["paths"].items():
        for method in METHODS:
            if (operation := operations.get(method)) is not None:
                (tag, *_) = operation.get("tags") or ["other"]
                groups[tag].append("".join(_operation(method, path, operation)))
    schemas = document.get("components", {}).get("schemas", {})
    body = [f"<h2>{escape(tag)}</h2>{''.join(found)}" for tag, found in groups.items()]
    body.append("<h2>Shapes</h2>" + "".join(_shape(name, schemas[name]) for name in sorted(schemas)))
    title = f"{escape(info['title'])} {escape(info['version'])}"
    intro = (
        f'<p>{escape(info.get("description", ""))} For programs: <a href="openapi.json">openapi.json</a>.</p>'
    )
    head = f'<meta charset="utf-8"><title>{title}</title><style>{STYLE}</style>'
    return f'<!doctype html><html lang="en">{head}<h1>{title}</h1>{intro}{"".join(body)}</html>'


def _operation(method: str, path: str, operation: Mapping[str, Any]) -> Iterator[str]:
    summary = escape(operation.get("summary", ""))
    yield f"<details><summary><b>{method.upper()}</b> <code>{escape(path)}</code> {summary}</summary>"
    yield f"<p>{escape(operation.get('description', ''))}</p>"
    if parameters := operation.get("parameters"):
        rows = [
            (
                item["name"],
                item["in"],
                "needed" if item.get("required") else "",
                _name(item.get("schema", {})),
            )
            for item in parameters
        ]
        yield _table(rows)
    if body := operation.get("requestBody"):
        yield "<p>Body: " + ", ".join(_contents(body)) + "</p>"
    yield _table([
        (status, answer.get("description", ""), ", ".join(_contents(answer)))
        for status, answer in operation.get("responses", {}).items()
    ])  # fmt: skip
    yield "</details>"


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ("".join(f"<td>{escape(cell)}</td>" for cell in row) for row in rows)
    return "<table>" + "".join(f"<tr>{line}</tr>" for line in lines) + "</table>"


def _contents(of: Mapping[str, Any]) -> list[str]:
    return [
        f"{media} {_name(found.get('schema', {}))}".strip() for media, found in of.get("content", {}).items()
    ]


def _name(schema: Mapping[str, Any]) -> str:
    """Return a schema's name, or its type where it has none."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_name(item) for item in schema[several])
    if "enum" in schema:
        return " | ".join(str(item) for item in schema["enum"])
    kind = str(schema.get("type", ""))
    return f"list of {_name(schema.get('items', {}))}" if kind == "array" else kind


def _shape(name: str, schema: Mapping[str, Any]) -> str:
    text = orjson.dumps(schema, option=orjson.OPT_INDENT_2).decode()
    return f"<details><summary><code>{escape(name)}</code></summary><pre>{escape(text)}</pre></details>"
