"""The JSON API's description of itself."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
import schemathesis
from twisted.trial.unittest import SynchronousTestCase

from pypid.web.api.openapi import described_routes, document
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, Described, Route
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import WholeCase
from tests.web.routes import ALL_ROUTES

OPERATIONS = [
    (method, path, operation)
    for path, methods in document(ALL_ROUTES)["paths"].items()
    for method, operation in methods.items()
]

FILES = ("/api/package/{project}/{filename}",)
"""Where files are had."""
FORM = "multipart/form-data"


def resolved(part: Any) -> Any:
    """The part that a reference stands for."""
    while "$ref" in part:
        found: Any = document(ALL_ROUTES)
        for word in part["$ref"].removeprefix("#/").split("/"):
            found = found[word]
        part = found
    return part


class DocumentTests(SynchronousTestCase):
    """What it says of every route."""

    def test_complete(self) -> None:
        """It has every route below ``/api/``, with its methods, and no other."""
        expected = {
            (method.lower(), route.path.replace("<", "{").replace(">", "}"))
            for route in ALL_ROUTES
            for method in route.methods - {"HEAD"}
            if route.path.startswith("/api/")
        }
        self.assertEqual({(method, path) for method, path, _ in OPERATIONS}, expected)
        self.assertEqual(len(OPERATIONS), len(expected))

    def test_undescribed(self) -> None:
        """A route that is added and says nothing of itself is named."""
        for doc, description in ((None, Described(dict[str, Any])), ("Something.", None)):

            async def handler(ctx: RequestContext) -> None:
                pass

            handler.__doc__ = doc
            declared = Route(
                method="GET",
                path="/api/new",
                action=ANYBODY,
                handler=handler,
                describe=description,
            )
            error = self.assertRaises(TypeError, list, described_routes([declared]))
            self.assertIn("/api/new", str(error))

    def test_valid(self) -> None:
        """It is an OpenAPI document."""
        schemathesis.openapi.from_dict(
            {**msgspec.to_builtins(document(ALL_ROUTES)), "servers": [{"url": "/"}]}
        ).validate()

    def test_answers(self) -> None:
        """Each operation has a good answer with a schema, and errors with theirs: 400 and 413 where
        a body is taken.
        """
        for method, path, operation in OPERATIONS:
            answers = {
                status: resolved(answer) for status, answer in operation["responses"].items()
            }
            if method == "get" and path in FILES:
                continue
            [good] = [status for status in answers if status < "300"]
            self.assertTrue(answers[good]["content"]["application/json"]["schema"], (method, path))
            self.assertTrue({"401", "429", "503"} <= set(answers), (method, path))
            if "requestBody" in operation:
                self.assertTrue({"400", "413"} <= set(answers), (method, path))
                [content] = operation["requestBody"]["content"].values()
                self.assertTrue(content["schema"], (method, path))
            for status in set(answers) - {good}:
                refused = resolved(answers[status]["content"]["application/json"]["schema"])
                self.assertEqual(set(refused["required"]), {"code", "title", "message"})
                self.assertTrue(
                    answers[status]["description"].endswith("."), (method, path, status)
                )

    def test_security(self) -> None:
        """Who changes something by a session says its token, too; only what is for anybody, or for
        readers, goes without.
        """
        for method, path, operation in OPERATIONS:
            ways = operation["security"]
            self.assertIn({"password": []}, ways)
            if method in ("put", "post", "patch", "delete"):
                self.assertNotIn({"session": []}, ways, (method, path))
                entrance = (method, path) in (
                    ("post", "/api/session"),
                    ("post", "/api/register"),
                ) or (method, path) == ("put", "/api/user/{name}")
                self.assertEqual({"session": [], "csrf": []} in ways, not entrance, (method, path))
            needs = operation["description"].rpartition("\n")[2]
            self.assertEqual(
                {} in ways, needs in ("Needs no login.", "Needs the right to read."), (method, path)
            )


class BodyTests(WholeCase):
    """What is said of bodies, and what the routes make of them."""

    def setUp(self) -> None:
        """With accounts, a project, a group and a user."""
        super().setUp()
        Peopled(self.pypid, Path(self.mktemp()))
        self.have_wheel("spam", "1.0")
        self.assertEqual(self.pypid.api("POST", "/api/users", {"name": "ann"}).status, 201)

    def test_unknown_fields(self) -> None:
        """A field that the description does not have is refused by name."""
        values = {
            "project": "spam",
            "filename": "spam-1.0-py3-none-any.whl",
            "version": "1.0",
            "name": "ann",
            "user": "ann",
            "kind": "user",
            "index": "default",
            "glob": "sp*",
        }
        early = {
            ("post", "/api/register"),
            ("post", "/api/invitations"),
        }  # this pypid has neither, whatever is sent
        early |= {
            ("put", "/api/user/{name}"),
            ("post", "/api/acl"),
        }  # and what others have dumped may say more
        for method, path, operation in OPERATIONS:
            if "requestBody" in operation and (method, path) not in early:
                [(kind, content)] = operation["requestBody"]["content"].items()
                if (
                    kind == FORM
                ):  # upload tools send dozens of others, and more with each specification
                    continue
                self.assertIs(resolved(content["schema"])["additionalProperties"], False, path)
                target = re.sub(r"{(\w+)}", lambda place: values[place[1]], path)
                if path.endswith("rights/{kind}"):
                    target = "/api/projects/spam/rights/everyone"
                self.refused(
                    self.pypid.api(method.upper(), target, {"surprise": 1}), 400, "surprise"
                )
