"""Several indexes in order, and none."""

from __future__ import annotations

from pypid.core.errors import BadListing, NotThere, UpstreamDown
from pypid.core.packaging.names import project_name
from pypid.flow import whole
from pypid.http_client.circuit_breaker import STRIKES, CircuitBreaker
from pypid.ports import Upstream
from pypid.upstream.nothing import Nothing
from tests.support.worlds import world
from tests.upstream.cases import SPAM, UpstreamCase
from tests.upstream.fake import page, says, status

EGGS = project_name("eggs")
FIRST, SECOND = "spam-1.0.tar.gz", "spam-2.0.tar.gz"


class SeveralTests(UpstreamCase):
    """The first that knows a name wins."""

    def setUp(self) -> None:
        """Two indexes."""
        super().setUp()
        self.second = self.another()
        self.second.scripts["/simple/spam/"] = says(page(SECOND), ETag='"2"')

    def both(self) -> Upstream:
        """The upstream that asks both; there is a password for each."""
        first, second = (
            fake.url.replace("//", f"//{who}:pw@")
            for who, fake in (("one", self.fake), ("two", self.second))
        )
        return self.asks(f"{first}/simple", f"{second}/simple")

    async def test_order(self) -> None:
        """What the first has, the second is not asked for; what it has not, the second gives."""
        self.script(says(page(FIRST)))
        said = await self.both().project(SPAM, None, ())
        self.assertEqual([file.filename for file in said.files or ()], [FIRST])
        self.assertEqual(self.second.asked, [])
        self.script(status(404))
        said = await self.both().project(SPAM, None, ())
        self.assertEqual([file.filename for file in said.files or ()], [SECOND])
        self.assertEqual(said.index, f"{self.second.url}/simple/")

    async def test_revalidation(self) -> None:
        """An ETag goes only to the index that gave it."""
        known = await self.both().project(SPAM, None, ())
        self.second.scripts["/simple/spam/"] = says(code=304, Content_Length="")
        again = await self.both().project(SPAM, known, ())
        self.assertEqual(again.files, known.files)
        self.assertNotIn("if-none-match", self.fake.asked[-1].headers)
        self.assertEqual(self.second.asked[-1].headers["if-none-match"], '"2"')

    async def test_down(self) -> None:
        """While the first is down or talks nonsense, nothing of the second is taken for what the
        first may have.
        """
        for script, kind in (
            (status(500), UpstreamDown),
            (status(403), UpstreamDown),
            (says(b"ok"), BadListing),
        ):
            await self.page_fails(script, kind, self.both())
        self.assertEqual(self.second.asked, [])

    async def test_nobody(self) -> None:
        """What none has is not there."""
        self.second.scripts.clear()
        self.assertIsNone((await self.both().project(SPAM, None, ())).files)
        self.assertEqual(len(self.second.asked), 1)

    async def test_names(self) -> None:
        """All names of all, in order, each once; half of them are none."""
        self.script(says(b'{"projects":[{"name":"b"},{"name":"d"}]}'), "/simple/")
        self.second.scripts["/simple/"] = says(b'{"projects":[{"name":"a"},{"name":"b"}]}')
        self.assertEqual(await self.both().names(()), ("a", "b", "d"))
        self.second.scripts["/simple/"] = status(500)
        await self.refused(self.both().names(()), UpstreamDown)

    async def test_files(self) -> None:
        """A file is asked for as the user of its own origin, and as nobody elsewhere."""
        third = self.another()
        for fake in self.fakes:
            fake.scripts["/f/x.whl"] = says(b"abc")
            self.assertEqual(
                await whole(await self.both().fetch(f"{fake.url}/f/x.whl", None, ()), 9), b"abc"
            )
        said = [
            fake.asked[0].headers.get("authorization") for fake in (self.fake, self.second, third)
        ]
        self.assertEqual(said, ["Basic b25lOnB3", "Basic dHdvOnB3", None])
        await self.refused(self.both().fetch(f"{third.url}/f/none.whl", None, ()), NotThere)

    async def test_second_index_that_is_down_concerns_only_what_the_first_does_not_have(
        self,
    ) -> None:
        """It is asked no more for a while, and does not open the breaker of the whole."""
        both = self.both()
        self.script(says(page(FIRST)))
        self.second.scripts["/simple/eggs/"] = status(500)
        for _ in range(2 * STRIKES):
            error = await self.refused(both.project(EGGS, None, ()), UpstreamDown)
            assert isinstance(error, UpstreamDown)
            self.assertTrue(error.secondary)
            self.assertEqual(
                [file.filename for file in (await both.project(SPAM, None, ())).files or ()],
                [FIRST],
            )
        self.assertEqual(len(self.second.asked), STRIKES)
        breaker = CircuitBreaker(world())
        for _ in range(STRIKES):
            breaker.failed(error)
        self.assertFalse(breaker.is_down)

    async def test_two_users_of_one_origin(self) -> None:
        """Of two indexes at one origin, the one whose path the file's is nearest to asks."""
        users = [
            self.fake.url.replace("//", f"//{who}:pw@") + f"/{who}/simple" for who in ("one", "two")
        ]
        self.script(says(b"abc"), "/two/files/x.whl")
        await whole(await self.asks(*users).fetch(f"{self.fake.url}/two/files/x.whl", None, ()), 9)
        self.assertEqual(self.fake.asked[0].headers["authorization"], "Basic dHdvOnB3")

    async def test_offline(self) -> None:
        """No index at all is one that is down: that a project is not there, nobody can say."""
        for question in (
            Nothing().project(SPAM, None, ()),
            Nothing().names(()),
            Nothing().fetch("https://x/y", None, ()),
        ):
            error = await self.refused(question, UpstreamDown)
            self.assertIn("offline", str(error))
