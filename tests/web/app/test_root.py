"""The root resource: how it brings the modules of routes."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import os
from errno import EACCES, EMFILE, ENFILE

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Busy
from pypid.flow import start
from pypid.testing import world
from pypid.web.app import root


class FurnishTests(SynchronousTestCase):
    """`furnish`."""

    def furnish_failing(self, number: int) -> BaseException:
        """What comes of a module whose import fails so."""

        def failing(name: str) -> None:
            raise OSError(number, os.strerror(number))

        self.patch(root, "import_module", failing)
        error: BaseException = self.failureResultOf(
            start(root.furnish(world(), ("pypid.not_there_yet",)))
        ).value
        return error

    def test_no_descriptor_is_left_for_an_import(self) -> None:
        """Where no more files can be opened clients are told to come again (503); any other failure
        is one of ours.
        """
        for number in (EMFILE, ENFILE):
            self.assertIsInstance(self.furnish_failing(number), Busy)
        self.assertIsInstance(self.furnish_failing(EACCES), PermissionError)
