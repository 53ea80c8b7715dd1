"""The contract of `Upstream`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from contextlib import aclosing

from attrs import evolve

from pypid.core.errors import NotThere, UpstreamDown
from pypid.core.model import File, ListedFile, Listing, Span
from pypid.core.packaging.names import project_name
from pypid.flow import whole
from pypid.ports import Upstream
from tests.support.worlds import Awaiting

SPAM = project_name("spam")
NOTHING = project_name("nothing")
FILENAME = "spam-1.0.tar.gz"


class UpstreamContract(Awaiting):
    """Mix into a `SynchronousTestCase` whose `make` gives an upstream that has the project spam,
    and that with one file.

    The file is `FILENAME`; its bytes are what `make` returns with the upstream, at least 100 of
    them. `take_away` makes the index behind it unreachable.
    """

    async def make(self) -> tuple[Upstream, bytes]:
        """Return a new upstream, and the bytes of its file."""
        raise NotImplementedError

    def take_away(self) -> None:
        """Make the index unreachable."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.upstream, self.data = self.have(self.make())

    def listing(self, known: Listing | None = None) -> Listing:
        """Return the upstream listing of spam."""
        return self.have(self.upstream.project(SPAM, known, ()))

    def file(self) -> File:
        """Return the one file of spam."""
        files = self.listing().files
        assert files is not None
        [file] = files
        return file

    def test_project(self) -> None:
        """A project comes with its files, each of which has a source, and is not stored here."""
        file = self.file()
        self.assertEqual((file.project, file.filename, file.version), (SPAM, FILENAME, "1.0"))
        self.assertIsNotNone(file.source)
        self.assertIsInstance(file, ListedFile)

    def test_again(self) -> None:
        """A known listing that is still valid comes back the same, with a new time."""
        known = self.listing()
        again = self.listing(known)
        self.assertGreaterEqual(again.confirmed, known.confirmed)
        self.assertEqual(again, evolve(known, confirmed=again.confirmed))

    def test_unknown(self) -> None:
        """A project that upstream does not have is an answer, and no error."""
        listing = self.have(self.upstream.project(NOTHING, None, ()))
        self.assertEqual((listing.name, listing.files), (NOTHING, None))

    def test_names(self) -> None:
        """The upstream projects are listed."""
        self.assertIn(SPAM, self.have(self.upstream.names(())))

    def test_file(self) -> None:
        """A file's bytes come from its source, all of them or a part, each in a body that knows its
        size or None.
        """
        source = self.file().source
        assert source is not None
        for span, expected in (
            (None, self.data),
            (Span(0, 1), self.data[:1]),
            (Span(10, 90), self.data[10:90]),
            (Span(len(self.data) - 1, len(self.data)), self.data[-1:]),
        ):
            body = self.have(self.upstream.fetch(source, span, ()))
            self.assertIn(body.size, (None, len(expected)))
            self.assertEqual(self.have(whole(body, 1 << 30)), expected)

    def test_part_that_is_not_there(self) -> None:
        """A part beyond the end raises, at the beginning or at the end."""
        source = self.file().source
        assert source is not None

        async def all_of_it() -> bytes:
            return await whole(
                await self.upstream.fetch(source, Span(10, len(self.data) + 1), ()), 1 << 30
            )

        self.refused(all_of_it(), UpstreamDown)

    def test_closed_early(self) -> None:
        """A body need not be read to its end, or at all; the next one is still complete."""
        source = self.file().source
        assert source is not None

        async def some(pieces: int) -> None:
            body = await self.upstream.fetch(source, None, ())
            async with aclosing(body):
                iterator = aiter(body)
                for _ in range(pieces):
                    await anext(iterator)

        self.have(some(0))
        self.have(some(1))
        self.assertEqual(
            self.have(whole(self.have(self.upstream.fetch(source, None, ())), 1 << 30)), self.data
        )

    def test_no_file(self) -> None:
        """A missing or removed file raises `NotThere`."""
        source = self.file().source
        assert source is not None
        gone = source.replace(FILENAME, "spam-9.0.tar.gz")
        self.refused(self.upstream.fetch(gone, None, ()), NotThere)

    def test_away(self) -> None:
        """While the index is unreachable, every request raises `UpstreamDown`."""
        known = self.listing()
        source = self.file().source
        assert source is not None
        self.take_away()
        self.refused(self.upstream.project(SPAM, None, ()), UpstreamDown)
        self.refused(self.upstream.project(SPAM, known, ()), UpstreamDown)
        self.refused(self.upstream.project(NOTHING, None, ()), UpstreamDown)
        self.refused(self.upstream.names(()), UpstreamDown)
        self.refused(self.upstream.fetch(source, None, ()), UpstreamDown)
