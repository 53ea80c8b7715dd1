"""When the fast path is off: with other versions of Twisted and pyOpenSSL, or other names in
them.
"""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

from OpenSSL import SSL
from twisted.internet.epollreactor import EPollReactor
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.protocols.tls import BufferingTLSTransport

from pypid.flow import coroutines
from pypid.web.fastpath.channel import FastPath, open_fast_path
from pypid.web.fastpath.os import reactor_hook, socket_write, tls_wire
from pypid.web.fastpath.os.availability import obstacle, requirements
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.flow.test_internals import UNTESTED, names_defined, private_names_used
from tests.web.fast_path_pair import Lines
from tests.web.fastpath.test_reactor_hook import new_reactor
from tests.web.full_app import Connection, J, WholeCase, spelled

REQUESTS = [
    spelled("GET", "/simple/spam/", ("Accept", J)),
    spelled("GET", "/simple/", ("Accept", J), user="alice"),
    spelled("GET", "/simple/spam/", ("If-None-Match", "*")),
    spelled("GET", "/simple/eggs/"),
]


class AvailabilityCase(WholeCase):
    """A pypid with a project, on an epoll reactor."""

    def setUp(self) -> None:
        super().setUp()
        self.have_wheel()
        self.reactor: Any = new_reactor(self)

    def opened(self, wanted: bool = True) -> tuple[FastPath | None, list[str]]:
        """The fast path, and the lines that are logged about it."""
        with capturedLogs() as events:
            fast = open_fast_path(self.pypid.app, Lines(self.pypid), self.reactor, wanted=wanted)
        return fast, [
            f"{event['log_format']} {event['reason']}" for event in events if "reason" in event
        ]

    def answers(self, fast: FastPath | None) -> bytes:
        """What a site answers to the requests, each sent three times."""
        site = Site(
            resource(self.pypid.app),
            reactor=self.pypid.clock,
            fast_path=fast,
            hosts=HostPolicy(("*",)),
        )
        site.startFactory()
        connection = Connection(site)
        for request in REQUESTS:
            for _ in range(3):
                connection.send(request)
        self.assertEqual(connection.channel.lookup is None, fast is None)
        self.assertEqual(connection.channel.direct, False)
        return re.sub(rb"\r\nDate: [^\r]*", b"", connection.socket.value())


class OffTests(AvailabilityCase):
    """Why it is off."""

    skip = UNTESTED

    def assertOff(self, reason: str, wanted: bool = True) -> None:
        """The fast path is off for this reason, with one line in the log."""
        fast, lines = self.opened(wanted)
        self.assertIsNone(fast)
        self.assertEqual(lines, [f"the fast path is off reason={{reason!r}} {reason}"])

    def test_versions(self) -> None:
        """With an untested version of Twisted or pyOpenSSL it is off."""
        installed = coroutines.version
        for package in ("Twisted", "pyOpenSSL"):
            self.patch(
                coroutines,
                "version",
                lambda name, package=package: "99.1" if name == package else installed(name),
            )
            first, last = coroutines.TESTED[package]
            self.assertOff(f"{package} 99.1 is untested (tested: {first} to {last})")

    def test_each_name(self) -> None:
        """Where one of the names is missing, it is off; the same requests get the same answers."""
        fast, _ = self.opened()
        answers = self.answers(fast)
        assert fast is not None
        self.assertGreater(fast.answered, 0)
        plain = self.answers(None)
        self.assertEqual(answers, plain)
        needed = [(owner, name) for owner, names in requirements(self.reactor) for name in names]
        self.assertGreater(len(needed), 20)
        has = coroutines.has_name
        for owner, missing in needed:
            self.patch(
                coroutines,
                "has_name",
                lambda each, name, owner=owner, missing=missing: (
                    (name, type(each)) != (missing, type(owner)) and has(each, name)
                ),
            )
            fast, [line] = self.opened()
            self.assertIsNone(fast, missing)
            self.assertTrue(line.endswith(f" has no {missing}"), line)
            self.assertEqual(self.answers(fast), plain)

    def test_other_reactors(self) -> None:
        """On another reactor than epoll's it is on, without a hook."""
        reactor = Clock()
        self.assertIsNone(obstacle(reactor))
        fast, _ = self.opened()
        assert fast is not None
        fast.start(reactor)
        self.assertFalse(hasattr(reactor, "doIteration"))
        fast.stop()

    def folder(self) -> Path:
        """A new folder."""
        return Path(self.mktemp())


class TableTests(AvailabilityCase):
    """What the tables of names hold."""

    def test_complete(self) -> None:
        """Each private name that a module of `os` uses is in its table."""
        tables = {
            reactor_hook: reactor_hook.NAMES,
            socket_write: socket_write.NAMES,
            tls_wire: (
                *tls_wire.MODULE_NAMES,
                *tls_wire.LIBRARY_NAMES,
                *tls_wire.CONNECTION_NAMES,
                *tls_wire.LAYER_NAMES,
                *tls_wire.AGGREGATOR_NAMES,
                *socket_write.NAMES,
            ),
        }
        for module, names in tables.items():
            tree = ast.parse(Path(module.__file__).read_text())
            used = private_names_used(tree) - names_defined(tree)
            self.assertEqual(used - set(names), set(), module.__name__)

    def test_types(self) -> None:
        """The names are required of what the fast path meets."""
        owners = [type(owner) for owner, _ in requirements(self.reactor)]
        for kind in (EPollReactor, BufferingTLSTransport, SSL.Connection):
            self.assertIn(kind, owners)
