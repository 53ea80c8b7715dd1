"""What the storage holds, by project; rebuilt and checked on a page that is written meanwhile."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from pypid.core.errors import StorageDown
from pypid.core.model import Blob
from pypid.flow import BytesBody
from pypid.index.local.publish import UNDER_WAY
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import Fragile
from tests.web.ui.administered import AdministeredCase, unchunked

NASTY = "x<b onmouseover=alert(1)>-1.0.tar.gz"


class StorageCase(AdministeredCase):
    def lay(self, key: str, data: bytes) -> None:
        """Somebody puts this there by hand, long ago."""
        self.have(self.pypid.blobs.write(key, BytesBody(data)))
        self.pypid.clock.advance(UNDER_WAY.total_seconds() + 1)

    def listing(self, before: Callable[[], Awaitable[None]]) -> None:
        """From now on this is awaited before each blob of a listing comes."""
        original = Fragile.list

        async def listed(blobs: Fragile, prefix: str = "") -> AsyncGenerator[Blob]:
            async with aclosing(original(blobs, prefix)) as listing:
                async for blob in listing:
                    await before()
                    yield blob

        self.patch(Fragile, "list", listed)


class RebuildTests(StorageCase):
    def test_rebuild(self) -> None:
        """What somebody put there is taken in, and the page tells of it, and of what could not be;
        it is in the audit log.
        """
        good, bad = wheel_filename("eggs"), wheel_filename("other")
        self.lay(f"eggs/{good}", wheel("eggs"))
        self.lay(f"other/{bad}", wheel("third"))
        text = self.done("/manage/rebuild", project="")
        self.assertIn("Listing the storage.", text)
        self.assertIn(f'<li class="code">eggs/{good}</li>', text)
        self.assertIn(f"other/{bad}", text)
        self.assertIn("refused", text)
        self.assertIn("do not rename", text)
        self.assertIn('href="../manage/storage">Back', text)
        self.assertIn("eggs", self.pypid.names())
        [deed] = self.peopled.deeds(what="storage rebuild")
        self.assertEqual((deed.who, deed.subject, deed.details["adopted"]), ("ada", "storage", "1"))

    def test_hostile(self) -> None:
        """Names in the storage are text."""
        self.lay(f"spam/{NASTY}", b"x")
        self.lay(f"x<script>/{wheel_filename('eggs')}", b"x")
        for target in ("rebuild", "check"):
            raw = unchunked(self.begin(f"/manage/{target}").rest())[2]
            self.assertNotIn("<b onmouse", raw)
            self.assertNotIn("<script>", raw.replace("<script src", ""))
            self.assertIn("&lt;", raw)

    def test_storage_away(self) -> None:
        """What goes wrong is told where the result would be, and the page ends as a page does."""
        self.pypid.blobs.away = StorageDown("its disk is <gone>.")
        text = unchunked(self.begin("/manage/rebuild").rest())[2]
        self.assertIn("its disk is &lt;gone&gt;.", text)
        self.assertIn('role="alert"', text)
        self.assertNotIn("Done", text)
        self.assertIn("</html>", text)
        [deed] = self.peopled.deeds(what="storage rebuild")
        self.assertIn("gone", deed.details["broke-off"])

    def test_gone_client(self) -> None:
        """A client that goes away breaks nothing: what it asked for ends, it is written down, and
        the next one can ask.
        """
        waiting: Deferred[None] = Deferred()

        async def until() -> None:
            if not waiting.called:
                await waiting

        self.listing(until)
        connection = self.begin("/manage/rebuild")
        self.assertNotIn("Done", unchunked(connection.rest())[2])
        connection.lose(ConnectionDone())
        self.assertTrue(waiting.called)
        [deed] = self.peopled.deeds(what="storage rebuild")
        self.assertEqual(deed.details["broke-off"], "the client disconnected")
        self.assertIn("Done", self.done("/manage/rebuild"))
        self.assertEqual(self.flushLoggedErrors(), [])


class CheckTests(StorageCase):
    def test_findings(self) -> None:
        """What is wrong is told by what it is, each with what to do about it;
        nothing is removed.
        """
        self.lay(f"eggs/{sdist_filename('eggs')}", sdist("eggs"))
        before = self.keys()
        text = self.done("/manage/check")
        self.assertIn("1 problem found: no-record (1).", text)
        self.assertIn("`pypid storage rebuild` publishes it", text)
        self.assertEqual(self.keys(), before)

    def test_sweep(self) -> None:
        """What nothing refers to is removed only where the word is typed beside the box; then it is
        in the audit log.
        """
        filename, data = self.have_wheel("eggs")
        [left] = [key for key in self.keys() if key.endswith(f"/{filename}")]
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/projects/eggs/files/{filename}").status, 200
        )
        self.lay(left, data)  # as if the delete had broken off
        before = self.keys()
        for confirm in ("", "yes", "Sweep!"):
            answer = self.send("/manage/check", sweep="yes", confirm=confirm)
            self.assertEqual(answer.status, 400)
            self.assertIn("Nothing was checked", answer.text)
        self.assertEqual(self.keys(), before)
        self.assertIn("Deleted.", self.done("/manage/check", sweep="yes", confirm=" sweep "))
        self.assertEqual(set(before) - set(self.keys()), {left})
        self.assertEqual(
            self.peopled.done(what="storage check --sweep"),
            [("ada", "storage check --sweep", "storage")],
        )
