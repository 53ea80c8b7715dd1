from __future__ import annotations

import sys
from base64 import b64encode
from io import BytesIO
from typing import Any, cast

from twisted.internet.address import IPv4Address
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs, formatEvent
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from pypid.core.errors import BadName, Busy, Forbidden, PypidError, Unauthenticated
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import (
    ADMINS,
    ANONYMOUS,
    AUTHENTICATED,
    EVERYONE,
    NOBODY,
    Action,
    Credential,
    Identity,
    Principals,
    Rules,
)
from pypid.web.app.app import App, nobody_else
from pypid.web.app.guard import answer
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, SOMEBODY, Route, declared_routes, route
from pypid.web.app.route_table import RouteTable
from pypid.web.http.request import Request as WebRequest
from pypid.web.root import run

STATUS = {Unauthenticated: 401, Forbidden: 403, BadName: 404, Busy: 503}
RIGHT = "Xyzzy"


class Users:
    """An Access that writes down who asked."""

    def __init__(self) -> None:
        self.asked: list[Credential] = []
        self.gate: Deferred[None] | None = None

    async def identify(self, credential: Credential) -> Identity:
        self.asked.append(credential)
        if self.gate is not None:
            await self.gate
        if credential.user == "busy":
            raise Busy("Full.")
        if credential.password != RIGHT:
            raise Unauthenticated("Wrong.")
        return Identity(credential.user, frozenset(), credential.user == "root")


@route("GET", "/simple/<project>/", action=Action.READ)
async def page(ctx: RequestContext, project: ProjectName) -> bytes:
    cast(Routes, ctx.app).seen.append(("page", ctx.identity, ctx.spelling, project))
    return b"page"


@route("POST", "/legacy/", action=Action.WRITE)
@route("POST", "/admin/", action=Action.ADMIN)
async def upload(ctx: RequestContext) -> bytes:
    assert ctx.request.content is not None
    cast(Routes, ctx.app).seen.append(("upload", ctx.identity, ctx.request.content.read()))
    return b"took"


@route("GET", "/own", action=SOMEBODY)
async def own(ctx: RequestContext) -> bytes:
    return str(ctx.identity.user).encode()


@route("GET", "/health", action=ANYBODY)
async def health(ctx: RequestContext) -> bytes:
    cast(Routes, ctx.app).seen.append(("health", ctx.identity))
    return b"well"


DECLARED = tuple(declared_routes(sys.modules[__name__]))


class Routes(Resource):
    """An app with a few routes, and the resource that runs them behind the guard."""

    isLeaf = True

    def __init__(self, rules: Rules) -> None:
        super().__init__()
        self.table = RouteTable(())
        for declared in DECLARED:
            self.table.add_route(declared)
        self.access = Users()
        self.rules = rules
        self.closed: PypidError | None = None
        self.catch_up = nobody_else
        self.seen: list[tuple[Any, ...]] = []

    def rules_in(self, index: str | None) -> Rules:
        """As `App.rules_in`."""
        return self.rules

    def render(self, request: Any) -> int:
        """Run the route until it waits."""
        run(self._answer(request), request)
        return NOT_DONE_YET

    async def _answer(self, request: Any) -> None:
        try:
            found, values = self.table.match(b"/".join(request.postpath), request.method)
            request.write(await answer(cast(App, self), request, found, values))
        except CancelledError:  # the client has disconnected
            return
        except PypidError as error:
            request.setResponseCode(STATUS[type(error)])
            request.write(str(error).encode())
        request.finish()


class Unread(BytesIO):
    """A body that says when it is read."""

    reads = 0

    def read(self, size: int | None = -1) -> bytes:
        self.reads += 1
        return super().read(size)


class GuardTests(SynchronousTestCase):
    def ask(
        self,
        routes: Routes,
        path: str,
        *authorization: bytes,
        method: str = "GET",
        body: bytes = b"",
    ) -> tuple[int, Request, StringTransport]:
        """Send a request over HTTP/1.1 to a real Site; the status (0: no answer yet), the request
        and the transport.
        """
        requests: list[Any] = []

        class Recorded(Request):
            def gotLength(self, length: int | None) -> None:
                self.content = self.spied = Unread()
                requests.append(self)

            id = "1"
            index = ""
            session = None
            use_route, authenticate = WebRequest.use_route, WebRequest.authenticate

            def client_address(self) -> str:
                return "192.0.2.7"

        site = Site(routes, reactor=Clock())
        site.requestFactory = Recorded
        channel = site.buildProtocol(IPv4Address("TCP", "127.0.0.1", 1))
        transport = StringTransport()
        channel.makeConnection(transport)
        lines = [
            f"{method} {path} HTTP/1.1".encode(),
            b"Host: h",
            b"Content-Length: %d" % len(body),
        ]
        lines += [b"Authorization: " + value for value in authorization]
        channel.dataReceived(b"\r\n".join([*lines, b"", body]))
        status = int(transport.value().split()[1]) if transport.value() else 0
        return status, requests[0], transport

    def basic(self, user: str, password: str = RIGHT) -> bytes:
        return b"Basic " + b64encode(f"{user}:{password}".encode())

    def test_open(self) -> None:
        """Where everyone may read, a request without a credential is let in and nothing is
        verified.
        """
        routes = Routes(Rules(read=EVERYONE))
        status, request, _ = self.ask(routes, "/simple/Acme_Tools/")
        self.assertEqual(
            (status, routes.seen, routes.access.asked),
            (200, [("page", ANONYMOUS, "Acme_Tools", "acme-tools")], []),
        )
        self.assertEqual(request.identity, ANONYMOUS)  # type: ignore[attr-defined]

    def test_right(self) -> None:
        """The identity that a credential proves goes to the route, and on the request
        for the log.
        """
        routes = Routes(Rules(read=Principals(users=frozenset({"alice"}))))
        status, request, _ = self.ask(routes, "/simple/acme/", self.basic("alice"))
        self.assertEqual(
            (status, routes.seen), (200, [("page", Identity("alice"), "acme", "acme")])
        )
        self.assertEqual(request.identity, Identity("alice"))  # type: ignore[attr-defined]

    def test_wrong(self) -> None:
        """A wrong or damaged credential, or two of them, is 401 on every route, open ones too
        (C91).
        """
        routes = Routes(Rules(read=EVERYONE))
        for path in ("/simple/acme/", "/health"):
            for wrong in (
                (self.basic("alice", "x"),),
                (b"Basic ?",),
                (b"",),
                (b"Digest x",),
                (self.basic("alice"),) * 2,
            ):
                status, request, _ = self.ask(routes, path, *wrong)
                self.assertEqual((status, request.identity), (401, ANONYMOUS), wrong)  # type: ignore[attr-defined]
        self.assertEqual(routes.seen, [])

    def test_refused(self) -> None:
        """Somebody unknown gets 401, somebody known without the right 403, and who cannot be
        checked now 503.
        """
        routes = Routes(Rules(read=ADMINS, write=AUTHENTICATED))
        self.assertEqual(self.ask(routes, "/simple/acme/")[0], 401)
        self.assertEqual(self.ask(routes, "/simple/acme/", method="HEAD")[0], 401)
        self.assertEqual(self.ask(routes, "/simple/acme/", self.basic("alice"))[0], 403)
        self.assertEqual(self.ask(routes, "/simple/acme/", self.basic("busy"))[0], 503)
        self.assertEqual(self.ask(routes, "/simple/acme/", self.basic("root"))[0], 200)
        status, request, _ = self.ask(routes, "/admin/", self.basic("alice"), method="POST")
        self.assertEqual((status, request.identity), (403, Identity("alice")))  # type: ignore[attr-defined]

    def test_bad_name(self) -> None:
        """A name that no project can have is refused before any rule is asked."""
        self.assertEqual(self.ask(Routes(Rules()), "/simple/%00/")[0], 404)

    def test_body_unread(self) -> None:
        """Nothing of the body of a refused request is read; of one that is let in, the route reads
        it.
        """
        routes = Routes(Rules())
        for refused in ((), (self.basic("alice", "x"),), (b"Basic ?",)):
            status, request, _ = self.ask(
                routes, "/legacy/", *refused, method="POST", body=b"wheel"
            )
            self.assertEqual((status, request.spied.reads), (401, 0))  # type: ignore[attr-defined]
            self.assertEqual(routes.seen, [])
        status, request, _ = self.ask(
            routes, "/legacy/", self.basic("alice"), method="POST", body=b"wheel"
        )
        self.assertEqual((status, request.spied.reads), (200, 1))  # type: ignore[attr-defined]
        self.assertEqual(routes.seen, [("upload", Identity("alice"), b"wheel")])

    def test_each_route_its_own(self) -> None:
        """One method under two guards asks on each route for the right of that route."""
        routes = Routes(Rules())
        self.assertEqual(self.ask(routes, "/admin/", self.basic("alice"), method="POST")[0], 403)
        self.assertEqual(self.ask(routes, "/legacy/", self.basic("alice"), method="POST")[0], 200)
        self.assertEqual(self.ask(routes, "/admin/", self.basic("root"), method="POST")[0], 200)

    def test_somebody(self) -> None:
        """What is everybody's own asks for no right, only for somebody who is logged in, whatever
        the rules.
        """
        routes = Routes(Rules(read=NOBODY, write=NOBODY))
        self.assertEqual(self.ask(routes, "/own")[0], 401)
        self.assertEqual(self.ask(routes, "/own", self.basic("alice", "x"))[0], 401)
        self.assertEqual(self.ask(routes, "/own", self.basic("alice"))[0], 200)

    def test_waits(self) -> None:
        """The route is not called before it is known who asks, and never when the client has gone
        away by then.
        """
        for lost in (False, True):
            routes = Routes(Rules())
            routes.access.gate = gate = Deferred()
            _, request, transport = self.ask(routes, "/simple/acme/", self.basic("alice"))
            self.assertEqual((transport.value(), routes.seen), (b"", []))
            if lost:
                request.channel.connectionLost(Failure(ConnectionError("gone")))
            else:
                gate.callback(None)
            self.assertEqual(len(routes.seen), 0 if lost else 1)

    def test_routes(self) -> None:
        """All routes can be listed with their methods and actions."""
        self.assertEqual(
            [(each.path, each.methods, each.action) for each in Routes(Rules()).table],
            [
                ("/admin/", frozenset({"POST"}), Action.ADMIN),
                ("/health", frozenset({"GET", "HEAD"}), ANYBODY),
                ("/legacy/", frozenset({"POST"}), Action.WRITE),
                ("/own", frozenset({"GET", "HEAD"}), SOMEBODY),
                ("/simple/<project>/", frozenset({"GET", "HEAD"}), Action.READ),
            ],
        )

    def test_no_route_without_action(self) -> None:
        """A route that names no action, or nonsense, cannot be declared."""
        for wrong in (
            {},
            {"action": None},
            {"action": "read"},
            {"action": True},
            {"action": Action.READ, "method": "get"},
        ):
            self.assertRaises(TypeError, route, **{"method": "GET", "path": "/x", **wrong})

    def test_no_second_route(self) -> None:
        """A second route for the same path and method is refused, rather than replacing the first
        and its action.
        """
        table = RouteTable(())

        async def handler(ctx: RequestContext) -> bytes:
            return b""

        def add(method: str, path: str, action: Action) -> None:
            table.add_route(Route(method=method, path=path, action=action, handler=handler))

        add("GET", "/x", Action.ADMIN)
        add("POST", "/x", Action.WRITE)
        add("GET", "/y", Action.READ)
        self.assertRaises(ValueError, add, "GET", "/x", Action.READ)
        self.assertEqual([each.action for each in table], [Action.ADMIN, Action.WRITE, Action.READ])

    def test_no_secret(self) -> None:
        """No password comes into a log, a repr or an answer."""
        routes = Routes(Rules(read=AUTHENTICATED))
        with capturedLogs() as events:
            asked = [
                self.ask(routes, "/simple/acme/", self.basic(user, "Xyzzy-plugh"))
                for user in ("alice", "busy")
            ]
            asked.append(self.ask(routes, "/simple/acme/", self.basic("alice")))
        seen = (
            "".join(formatEvent(event) for event in events)
            + repr(events)
            + repr(routes.access.asked)
            + repr(routes.seen)
        )
        seen += "".join(
            repr(request) + transport.value().decode() for _, request, transport in asked
        )
        for secret in ("Xyzzy", self.basic("alice").decode()):
            self.assertNotIn(secret, seen)
