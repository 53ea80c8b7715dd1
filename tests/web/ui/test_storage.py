"""What the storage holds, by project; rebuilt and checked on a page that is written meanwhile."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone

from pypid.core.errors import StorageDown
from pypid.core.model import Blob, Project
from pypid.core.packaging.names import project_name
from pypid.flow import BytesBody
from pypid.index.local.publish import UNDER_WAY
from pypid.index.progress import EVERY
from pypid.web.ui.storage import MOST_TOLD
from pypid.web.ui.streamed_page import STILL
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.test_usage import files
from tests.web.full_app import Fragile, basic, spelled
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


class PageTests(StorageCase):
    def test_projects(self) -> None:
        """The largest first, ours and kept, with the sums and where they lie."""
        self.have_sdist("spam", "2.0")
        text = self.page("/manage/storage")
        self.assertIn("in memory", text)
        self.assertIn("2 files of 1 project, ", text)
        self.assertIn("1 file of 1 project, ", text)
        self.assertLess(text.index('href="../project/spam/"'), text.index('href="../project/ham/"'))

    def test_pages(self) -> None:
        """Of many projects a hundred are on a page, and the sums are those of all."""
        for number in range(150):
            name = project_name(f"many{number}")
            many = Project(name=name, files=files(name, 10**6 + number))
            self.have(self.pypid.catalog.local.edit(name, lambda _, many=many: many))  # type: ignore[misc]
        first, second = self.page("/manage/storage"), self.page("/manage/storage?page=2")
        self.assertIn("151 files of 151 projects", first)
        self.assertIn("project/many149/", first)
        self.assertIn("project/many0/", second)
        self.assertEqual(first.count('<th scope="row">') + second.count('<th scope="row">'), 152)
        for odd in ("0", "-1", "99999", "x", "9" * 50, "²"):
            self.assertEqual(
                self.look(f"/manage/storage?page={odd}").status, 400 if not odd.isascii() else 200
            )

    def test_twin(self) -> None:
        """The same as JSON, for programs."""
        document = self.pypid.api("GET", "/api/storage").json
        uses = [(use["name"], use["files"], use["kept"]) for use in document["projects"]]
        self.assertEqual(sorted(uses), [("ham", 0, 1), ("spam", 1, 0)])
        self.assertEqual((document["files"], document["kept"], document["counting"]), (1, 1, None))
        self.assertEqual(document["place"], "in memory")
        self.assertIsNone(document["storage_disk"])
        self.assertGreater(document["state_disk"]["total"], 0)
        [second] = self.pypid.api("GET", "/api/storage?skip=1&most=1").json["projects"]
        self.assertEqual(second, document["projects"][1])
        for wrong in ("?most=0", "?most=1001", "?skip=-1", "?all"):
            self.assertEqual(self.pypid.api("GET", f"/api/storage{wrong}").status, 400, wrong)


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

    def test_one(self) -> None:
        """One project can be named, in any spelling; what is no name is told, with
        what was typed.
        """
        self.lay(f"eggs/{wheel_filename('eggs')}", wheel("eggs"))
        self.assertIn("Rebuilding eggs", self.done("/manage/rebuild", project="Eggs "))
        self.assertEqual(
            self.peopled.done(what="storage rebuild"), [("ada", "storage rebuild", "eggs")]
        )
        answer = self.send("/manage/rebuild", project="<b>!")
        self.assertEqual(answer.status, 400)
        self.assertIn('value="&lt;b&gt;!"', answer.text)

    def test_as_it_goes_on(self) -> None:
        """The head is sent at once, as much of it as browsers want before they show anything; then
        lines, as they come.
        """
        for number in range(3):
            self.have_sdist("spam", f"{number + 2}.0")
        told: list[str] = []
        connection = self.pypid.connect()

        async def slowly() -> None:
            told.append(unchunked(connection.rest())[2])
            self.pypid.clock.advance(EVERY + 1)

        self.listing(slowly)
        connection.send(self.form("/manage/rebuild", {"project": ""}))
        self.assertGreaterEqual(len(told[0]), 4096)
        self.assertIn("Listing the storage.", told[0])
        self.assertNotIn("</ol>", told[0])
        text = unchunked(connection.rest())[2]
        self.assertGreater(text.count("<li>comparing"), 1)
        self.assertIn("</ol>", text)

    def test_signs_of_life(self) -> None:
        """While nothing is told something comes every ten seconds, so that no proxy gives up."""
        waiting: Deferred[None] = Deferred()

        async def until() -> None:
            if not waiting.called:
                await waiting

        self.listing(until)
        connection = self.begin("/manage/rebuild")
        sizes = []
        for _ in range(3):
            self.pypid.clock.advance(STILL)
            sizes.append(len(connection.rest()))
        self.assertEqual(sorted(set(sizes)), sizes)
        waiting.callback(None)
        text = unchunked(connection.rest())[2]
        self.assertIn("Done", text)
        size = len(connection.rest())
        self.pypid.clock.advance(STILL)
        self.assertEqual(len(connection.rest()), size)

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
    def test_nothing(self) -> None:
        """Where nothing is wrong the page says so, and nothing is written down."""
        text = self.done("/manage/check", hashes="yes")
        self.assertIn("No problems found.", text)
        self.assertIn("1 local file and 1 cached file", text)
        self.assertEqual(self.peopled.done(what="storage check --sweep"), [])

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

    def test_streamed(self) -> None:
        """A client that accepts lines gets the progress, and then the same result as another."""
        self.lay(f"eggs/{sdist_filename('eggs')}", sdist("eggs"))
        body = {"hashes": True}
        plain = self.pypid.api("POST", "/api/check", body).json

        async def wait() -> None:
            self.pypid.clock.advance(EVERY)

        self.listing(wait)
        heads = (("Accept", "application/x-ndjson"), ("Content-Type", "application/json"))
        connection = self.pypid.connect()
        text = json.dumps(body).encode()
        connection.send(spelled("POST", "/api/check", basic("ada"), *heads, body=text))
        _, _, lines = unchunked(connection.rest())
        *progress, result = map(json.loads, lines.splitlines())
        self.assertEqual(result, {"event": "result", **plain})
        self.assertEqual(progress[0]["event"], "progress")
        self.assertIn("checking: ", progress[0]["said"])

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

    def test_many(self) -> None:
        """Of very many things that are wrong the first are told, and how many there are."""
        for number in range(MOST_TOLD + 7):
            self.have(self.pypid.blobs.write(f"many/many-{number}.tar.gz", BytesBody(b"x")))
        self.pypid.clock.advance(UNDER_WAY.total_seconds() + 1)
        text = self.done("/manage/check")
        self.assertIn(f"{MOST_TOLD + 7} problems found", text)
        self.assertIn("And 7 more", text)
