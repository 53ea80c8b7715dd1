"""The table of routes: how it imports the modules that it lists."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from errno import EACCES, EMFILE, ENFILE
from importlib import import_module
from typing import Any

from attrs import evolve
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Busy
from pypid.flow import start
from pypid.web.app import route_table
from pypid.web.app.route_table import HEALTH, UPLOADS, RouteTable
from tests.support import world


class LoadTests(SynchronousTestCase):
    """`RouteTable.load`."""

    def load_failing(self, number: int) -> BaseException:
        """The error of a load whose import fails so."""

        def failing(*names: str) -> None:
            raise OSError(number, os.strerror(number))

        self.patch(route_table, "import_late", failing)
        error: BaseException = self.failureResultOf(start(RouteTable().load(world()))).value
        return error

    def test_no_descriptor_is_left_for_an_import(self) -> None:
        """Where no more files can be opened clients are told to come again (503); any other failure
        is one of ours.
        """
        for number in (EMFILE, ENFILE):
            self.assertIsInstance(self.load_failing(number), Busy)
        self.assertIsInstance(self.load_failing(EACCES), PermissionError)

    def test_any_number_of_requests_waits_for_one_import(self) -> None:
        """A crowd after a start gets its answers, and so does who comes later."""
        pending: list[tuple[Deferred[Any], str]] = []

        def slow(call: Any, name: str, *used: str) -> Deferred[Any]:
            pending.append((Deferred(), name))
            return pending[-1][0]

        slowed = evolve(world(), blocking=slow)
        table = RouteTable((HEALTH, UPLOADS))
        waiting = [start(table.load(slowed)) for _ in range(500)]
        while pending:
            for each in waiting:
                self.assertNoResult(each)
            imported, name = pending.pop()
            imported.callback(import_module(name))
        for each in waiting:
            self.successResultOf(each)
        self.assertTrue(table.is_complete)
