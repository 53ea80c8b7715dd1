"""Holds the answers of the JSON API against its own description: every test that asks something
below ``/api/`` does so.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any

import jsonschema_rs
import msgspec

from pypid.web.api.openapi import document
from tests.web.routes import ALL_ROUTES

NOT_OF_ROUTES = (400, 404, 405, 500, 501)
"""Also answered before there is a route: to a broken request, at addresses with odd characters, to
odd methods; by failures.
"""


@cache
def _whole() -> Any:
    return json.loads(msgspec.json.encode(document(ALL_ROUTES)))


@cache
def _patterns() -> Mapping[re.Pattern[str], str]:
    """Of the paths, those with the fewest places first."""
    paths = sorted(_whole()["paths"], key=lambda path: path.count("{"))
    return {
        re.compile(re.sub(r"\\{\w+\\}", "[^/]+", re.escape(path)) + r"/?\Z"): path for path in paths
    }


@lru_cache(4096)
def _path_of(target: str) -> str | None:
    """Of all that is described; tests ask the same over and over."""
    return next((path for pattern, path in _patterns().items() if pattern.match(target)), None)


@cache
def _validator(path: str, method: str, status: str) -> Any:
    """Of the answer's document: as described, and nothing else in it. None where no such answer is
    described.
    """
    answer = _whole()["paths"][path].get(method, {}).get("responses", {}).get(status)
    if answer is None:
        return None
    if "$ref" in answer:
        answer = _whole()["components"]["responses"][answer["$ref"].rpartition("/")[2]]
    if "application/json" not in answer.get("content", {}):
        return jsonschema_rs.Draft202012Validator({})  # a file, or nothing
    components = {
        "schemas": {
            name: _closed(schema) for name, schema in _whole()["components"]["schemas"].items()
        }
    }
    schema = {**answer["content"]["application/json"]["schema"], "components": components}
    return jsonschema_rs.Draft202012Validator(schema, validate_formats=True)


def _closed(schema: dict[str, Any]) -> dict[str, Any]:
    return {"additionalProperties": False, **schema} if "properties" in schema else schema


def hold(method: str, target: str, status: int, content_type: str | None, body: bytes) -> None:
    """Raise `AssertionError` where the answer is not as the document says."""
    path = _path_of(target.partition("?")[0])
    verb = "get" if method == "HEAD" else method.lower()
    if path is None or verb not in _whole()["paths"][path]:
        return
    validator = _validator(path, verb, str(status))
    if validator is None:
        if status not in NOT_OF_ROUTES:
            raise AssertionError(
                f"The description of {method} {path} has no answer {status}: {body[:500]!r}"
            )
    elif body and content_type == "application/json":
        problems = [
            f"{error.instance_path}: {error.message}"
            for error in validator.iter_errors(json.loads(body))
        ]
        if problems:
            raise AssertionError(f"{method} {path} -> {status} is not as described: {problems}")
