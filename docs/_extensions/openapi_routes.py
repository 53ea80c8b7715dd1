"""The directive ``.. openapi-routes::``: the routes of the OpenAPI document, as sections by tag.

The document is made of the routes themselves (`pypid.web.api.openapi`), so the page has no second
list of them. Bodies are shown as JSON with the type in place of each value.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any

from generated import GeneratedText
from sphinx.application import Sphinx

from pypid.compat import ROUTE_MODULES
from pypid.web.api.openapi import document
from pypid.web.app.route_table import MODULES, RouteTable

METHODS = ("get", "post", "put", "patch", "delete")
WIDTH = 96
"""Columns of a body before it is broken into lines."""
DEEPEST = 4
"""Levels of objects that are shown."""
TITLES = {
    "acl": "Users and rights of pypicloud",
    "adopt": "Import of a folder",
    "cache": "Cached files",
    "check": "Check of the storage",
    "downloads": "Download log",
    "log-level": "Log level",
    "me": "The client",
    "names": "Names",
    "news": "New releases",
    "openapi": "This document",
    "package": "Files, as pypicloud has them",
    "register": "Registration",
    "session": "Sessions",
    "tier": "Storage classes",
    "upstream": "Upstream",
    "user": "Accounts, as pypicloud has them",
    "why": "Explanations",
}


def openapi() -> Mapping[str, Any]:
    """Return the OpenAPI document of all routes."""
    routes = RouteTable((*MODULES, *ROUTE_MODULES))
    for name in routes.modules:
        routes.add(import_module(name))
    return document(routes)


def rst(description: Mapping[str, Any]) -> Iterator[str]:
    """Yield the page: a section for each tag, and one for each route."""
    by_tag: dict[str, list[tuple[str, str, Mapping[str, Any]]]] = {}
    for path, operations in description["paths"].items():
        for method in METHODS:
            if method in operations:
                operation = operations[method]
                by_tag.setdefault(operation["tags"][0], []).append((method, path, operation))
    for tag, found in sorted(by_tag.items()):
        title = TITLES.get(tag, tag.replace("-", " ").capitalize())
        yield from (title, "-" * len(title), "")
        for method, path, operation in found:
            yield from _route(method, path, operation, description["components"]["schemas"])


def _route(
    method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]
) -> Iterator[str]:
    title = f"``{method.upper()} {path}``"
    yield from (f".. _api-{operation['operationId']}:", "", title, "~" * len(title), "")
    yield from (_escaped(operation["description"]), "")
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "query":
            schema = parameter["schema"]
            must = "required" if parameter.get("required") else "optional"
            usual = f", default {schema['default']}" if "default" in schema else ""
            yield (
                f"* ``?{parameter['name']}=`` ({_kind(schema)}, {must}{usual}): "
                + _escaped(parameter["description"])
            )
    yield ""
    body = operation.get("requestBody")
    if body is not None:
        ((kind, content),) = body["content"].items()
        said = "Body" if kind == "application/json" else "Form"
        yield from (f"{said}{'' if body['required'] else ' (optional)'}::", "")
        yield from _indented(_shape(content["schema"], schemas))
    yield from _answers(operation["responses"], schemas)


def _answers(responses: Mapping[str, Any], schemas: Mapping[str, Any]) -> Iterator[str]:
    for status, response in responses.items():
        content = response.get("content", {})
        if "application/json" in content:
            yield from (f"Answer, {status}::", "")
            yield from _indented(_shape(content["application/json"]["schema"], schemas))
            if len(content) > 1:
                others = " or ".join(f"``{kind}``" for kind in content if "json" not in kind)
                yield from (f"With ``Accept: application/x-ndjson`` or {others}: events.", "")
        elif "$ref" not in response:
            yield from (f"Answer, {status}: {response['description']}.", "")
    errors = sorted({status for status, response in responses.items() if "$ref" in response})
    if errors:
        yield from (f"Errors: {', '.join(errors)}.", "")


def _shape(schema: Mapping[str, Any], schemas: Mapping[str, Any], depth: int = 0) -> str:
    """Return the schema as JSON, with a type in place of each value."""
    if "$ref" in schema:
        return _shape(schemas[schema["$ref"].rpartition("/")[2]], schemas, depth)
    if "anyOf" in schema:
        return " | ".join(_shape(each, schemas, depth) for each in schema["anyOf"])
    if schema.get("type") == "array":
        items = schema.get("items", {})
        return f"[{_shape(items, schemas, depth)}, ...]" if items else "[...]"
    if schema.get("type") == "object" and "properties" in schema:
        if depth >= DEEPEST:
            return "{...}"
        fields = [
            f'"{name}": {_shape(kind, schemas, depth + 1)}'
            for name, kind in schema["properties"].items()
        ]
        line = "{" + ", ".join(fields) + "}"
        if len(line) + 4 * depth <= WIDTH and "\n" not in line:
            return line
        inside, outside = "    " * (depth + 1), "    " * depth
        return "{\n" + "".join(f"{inside}{field},\n" for field in fields)[:-2] + f"\n{outside}}}"
    return _kind(schema)


def _kind(schema: Mapping[str, Any]) -> str:
    if "enum" in schema:
        return " | ".join(f'"{value}"' for value in schema["enum"])
    if "const" in schema:
        return f'"{schema["const"]}"'
    kind = schema.get("format") or schema.get("type", "any value")
    return {"integer": "number", "object": "{...}", "null": "null"}.get(kind, str(kind))


def _indented(text: str) -> Iterator[str]:
    yield from (f"    {line}" for line in text.splitlines())
    yield ""


def _escaped(text: str) -> str:
    parts = text.split("``")  # what is between two is a literal
    parts[::2] = [part.replace("*", r"\*").replace("|", r"\|") for part in parts[::2]]
    return "``".join(parts)


class OpenapiRoutes(GeneratedText):
    """Inserts the routes of the OpenAPI document."""

    def text(self) -> Iterator[str]:
        """Return a section for each tag."""
        return rst(openapi())


def setup(app: Sphinx) -> Mapping[str, Any]:
    """Register the directive."""
    app.add_directive("openapi-routes", OpenapiRoutes)
    return {"parallel_read_safe": True}
