"""What declares the rights of routes, and when a route is called. (Who may do what by which route:
`tests.web.test_matrix`.)
"""

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from pypid.core.permissions import Action, Credential, Identity
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Route, route
from pypid.web.app.route_table import RouteTable
from tests.web.full_app import WholeCase, spelled


class GuardTests(WholeCase):
    def test_waits(self) -> None:
        """The route is not called before it is known who asks, and never when the client has gone
        away by then.
        """
        for name, lost in (("spam", False), ("eggs", True)):
            gate = Deferred[None]()

            async def identify(credential: Credential, gate: Deferred[None] = gate) -> Identity:
                await gate
                return Identity("ada", admin=True)

            filename, _ = self.have_wheel(name)
            connection = self.pypid.connect()
            patched = self.patch(self.pypid.access, "identify", identify)
            target = f"/api/projects/{name}/files/{filename}"
            connection.send(spelled("DELETE", target, user="ada"))
            if lost:
                connection.lose(ConnectionDone())
            self.assertEqual(connection.rest(), b"")
            gate.callback(None)
            patched.restore()
            self.assertEqual(len(self.pypid.page(name)["files"]), 1 if lost else 0)

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
