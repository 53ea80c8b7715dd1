"""Upstream indexes that are opened at the first request."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import UpstreamDown
from pypid.core.packaging.names import project_name
from pypid.flow import start
from pypid.flow.derived import Provider
from pypid.upstream.nothing import Nothing
from pypid.wiring.upstreams import LateUpstream, OpenedUpstream

SPAM = project_name("spam")


class LateUpstreamTests(SynchronousTestCase):
    """`LateUpstream`."""

    def setUp(self) -> None:
        self.done: list[str] = []
        self.imported: Deferred[None] = Deferred()
        self.late = LateUpstream(Provider(self.open), self.prepare)

    def open(self) -> OpenedUpstream:
        """Note that it is opened."""
        self.done.append("opened")
        return OpenedUpstream(Nothing(), self.close)

    def prepare(self) -> Deferred[None]:
        """Note the import, which lasts until `imported` fires."""
        self.done.append("imports")
        waiting: Deferred[None] = Deferred()
        self.imported.chainDeferred(waiting)
        return waiting

    async def close(self) -> None:
        """Note that the connections are closed."""
        self.done.append("closed")

    def test_modules_are_imported_before_the_first_request(self) -> None:
        """The index is opened after the import, and once; later requests import nothing."""
        asked = start(self.late.project(SPAM, None, ()))
        self.assertNoResult(asked)
        self.assertEqual(self.done, ["imports"])
        self.imported.callback(None)
        self.failureResultOf(asked, UpstreamDown)
        self.failureResultOf(start(self.late.project(SPAM, None, ())), UpstreamDown)
        self.assertEqual(self.done, ["imports", "opened"])
        self.successResultOf(start(self.late.close()))
        self.assertEqual(self.done, ["imports", "opened", "closed"])

    def test_unused_index_is_never_opened(self) -> None:
        """A pypid that had no upstream request closes nothing at its end."""
        self.successResultOf(start(self.late.close()))
        self.assertEqual(self.done, [])
