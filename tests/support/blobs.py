"""The contract of `Blobs`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from contextlib import aclosing
from datetime import timedelta

from pypid.core.errors import Exists, Missing
from pypid.core.model import Blob, Span
from pypid.flow import BytesBody, start, whole
from pypid.ports import Blobs
from tests.support.models import LARGE, BlobsModel, run_model
from tests.support.worlds import Awaiting, Fed, contents

ODD_KEYS = (
    "spam/spam-1.0+local.1-py3-none-any.whl",
    "spam/spam-1.0~rc1#2?x=1;y=%2e%2e.tar.gz",
    "spam/with a space, a 'quote', and a \"quote\".zip",
    "spam/h\u00e4m \u8de8 \U0001f40d.tar.gz",
    "spam/back\\slash:colon*star|pipe<>&.zip",
    "spam/...",
    "spam/-rf",
    ".pypid/storage.json",
    "a/rather/deep/folder/of/folders/x",
)
NO_KEYS = (
    "",
    "/",
    "/etc/passwd",
    "..",
    "../x",
    "spam/../../x",
    "spam//x",
    "spam/",
    "./x",
    "spam/.",
    "nul\0",
    "\udc80",
)
# Where "a" is a folder and the beginning of other names, the order of keys is not the order of
# names.
CROWDED = (
    "a/b",
    "a-b",
    "a.b",
    "ab",
    "a0/x",
    "a/b-c",
    "a/b0",
    "a-/x",
    "b",
    "\u00e4/x",
    "\u00e4-x",
    "a/\U0001f40d",
    "a/\uffee",
    "Z",
)


class BlobsContract(Awaiting):
    """Mix into a `SynchronousTestCase` whose `make` gives a new, empty store."""

    async def make(self) -> Blobs:
        """Return a new, empty store."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.blobs = self.have(self.make())

    def put(self, key: str, data: bytes, replace: bool = False) -> Blob:
        """Write a blob at once."""
        return self.have(self.blobs.write(key, BytesBody(data), replace=replace))

    def get(self, key: str, span: Span | None = None) -> bytes:
        """Return the bytes of a blob, or of `span`."""

        async def read() -> bytes:
            return await whole(await self.blobs.read(key, span), LARGE)

        return self.have(read())

    def size(self, key: str, span: Span | None = None) -> int | None:
        """Return the size that the body reports."""

        async def look() -> int | None:
            async with aclosing(await self.blobs.read(key, span)) as body:
                return body.size

        return self.have(look())

    # --- reading and writing ---

    def test_reads_what_was_written(self) -> None:
        """A blob is read as it was written, with its size; `write`, `stat` and a listing report the
        same.
        """

        async def listed() -> list[Blob]:
            async with aclosing(self.blobs.list()) as listing:
                return [blob async for blob in listing]

        for data in (b"", b"x", b"bytes\0\xff\r\n" * 999):
            written = self.put("spam/x", data, replace=True)
            self.assertEqual((written.key, written.size), ("spam/x", len(data)))
            self.assertIsNotNone(written.modified.tzinfo)
            self.assertEqual(self.have(self.blobs.stat("spam/x")), written)
            self.assertEqual(self.have(listed()), [written])
            self.assertEqual(self.size("spam/x"), len(data))
            self.assertEqual(self.get("spam/x"), data)

    def test_streams_large_bodies(self) -> None:
        """A body of 3 MB in pieces of odd sizes arrives as it was."""
        data = bytes(range(251)) * 12_345
        sizes = [1, 7, 65_537, 3, 1 << 20, 131_073, len(data)]
        pieces, position = [], 0
        for size in sizes:
            pieces.append(data[position : position + size])
            position += size
        self.have(
            self.blobs.write(
                "spam/x", Fed(*(piece for piece in pieces if piece), None, size=len(data))
            )
        )
        self.assertEqual(self.get("spam/x"), data)

    def test_reads_spans(self) -> None:
        """A span gives exactly its bytes: first, last, middle, all, none."""
        data = bytes(range(256)) * 2000
        self.put("spam/x", data)
        for begin, end in (
            (0, 1),
            (len(data) - 1, len(data)),
            (1000, 300_000),
            (0, len(data)),
            (5, 5),
            (len(data),) * 2,
        ):
            self.assertEqual(self.get("spam/x", Span(begin, end)), data[begin:end])
            self.assertEqual(self.size("spam/x", Span(begin, end)), end - begin)

    def test_refuses_spans_outside(self) -> None:
        """A span beyond the blob's end is missing; one that ends before it begins is a
        `ValueError`.
        """
        self.put("spam/x", b"12345")
        self.refused(self.blobs.read("spam/x", Span(0, 6)), Missing)
        self.refused(self.blobs.read("spam/x", Span(6, 6)), Missing)
        self.refused(self.blobs.read("spam/x", Span(3, 2)), ValueError)
        self.refused(self.blobs.read("spam/x", Span(-1, 2)), ValueError)

    def test_closes_early(self) -> None:
        """A body may be closed after some of its pieces, at once, and twice."""
        self.put("spam/x", b"x" * (3 << 20))

        async def some() -> int:
            body = await self.blobs.read("spam/x")
            first = await anext(aiter(body))
            await body.aclose()
            await body.aclose()
            await (await self.blobs.read("spam/x")).aclose()
            return len(first)

        self.assertGreater(self.have(some()), 0)

    def test_is_one_version(self) -> None:
        """A body that is being read while the blob is replaced or deleted continues with its
        version.
        """
        old, new = b"o" * (3 << 20), b"n" * (3 << 20)
        self.put("spam/x", old)

        async def read() -> bytes:
            body = await self.blobs.read("spam/x")
            got: list[bytes] = []
            async for piece in body:
                if not got:
                    await self.blobs.write("spam/x", BytesBody(new), replace=True)
                    await self.blobs.delete("spam/x")
                got.append(piece)
            await body.aclose()
            return b"".join(got)

        self.assertEqual(self.have(read()), old)

    def test_missing(self) -> None:
        """A key that was never written is missing; so is a folder, and a key below a blob."""
        self.put("spam/eggs/x", b"x")
        for key in ("ham", "ham/x", "spam", "spam/eggs", "spam/eggs/x/y", "spam/eggs/" + "y" * 300):
            error = self.refused(self.blobs.read(key), Missing)
            assert isinstance(error, Missing)
            self.assertEqual(error.key, key)
            self.refused(self.blobs.stat(key), Missing)
            self.have(self.blobs.delete(key))
        self.assertEqual(self.have(contents(self.blobs)), ["spam/eggs/x"])

    def test_odd_keys(self) -> None:
        """Keys are any UTF-8 text; each is its own blob and comes back as it was spelt."""
        for key in ODD_KEYS:
            self.put(key, key.encode())
        for key in ODD_KEYS:
            self.assertEqual(self.get(key), key.encode())
            self.assertEqual(self.have(contents(self.blobs, key)), [key])
        self.assertEqual(self.have(contents(self.blobs)), sorted(ODD_KEYS, key=str.encode))

    def test_no_keys(self) -> None:
        """A key that leads out of the store, or nowhere, is missing; writing it raises and stores
        nothing.
        """
        for key in NO_KEYS:
            self.refused(self.blobs.read(key), Missing)
            self.refused(self.blobs.stat(key), Missing)
            self.have(self.blobs.delete(key))
            body = Fed(b"x", None)
            self.refused(self.blobs.write(key, body), ValueError)
            self.assertTrue(body.closed)
        self.assertEqual(self.have(contents(self.blobs)), [])

    # --- writing ---

    def test_writes_once(self) -> None:
        """A key that is taken is refused and keeps its bytes; the refused body is closed."""
        self.put("spam/x", b"first")
        body = Fed(b"second", None)
        error = self.refused(self.blobs.write("spam/x", body), Exists)
        assert isinstance(error, Exists)
        self.assertEqual(error.key, "spam/x")
        self.assertTrue(body.closed)
        self.assertEqual(self.get("spam/x"), b"first")

    def test_replaces(self) -> None:
        """With `replace` the new bytes replace the old ones, and the etag differs."""
        etags = {
            self.put("spam/x", data, replace=True).etag
            for data in (b"longer than the next", b"short", b"other")
        }
        self.assertEqual(self.get("spam/x"), b"other")
        self.assertEqual(len(etags), 3)

    def test_stores_nothing_of_a_body_that_fails(self) -> None:
        """A body that raises, early or late, raises out of `write` and leaves the earlier state."""
        for size in (0, 10, 3 << 20):
            for replace in (False, True):
                body = Fed(*[b"x" * size] * (size > 0), ConnectionResetError("gone"))
                self.refused(
                    self.blobs.write("spam/x", body, replace=replace), ConnectionResetError
                )
                self.assertTrue(body.closed)
                self.assertEqual(self.have(contents(self.blobs)), [])
        self.put("spam/x", b"before")
        self.refused(
            self.blobs.write("spam/x", Fed(b"x" * 9, OSError("gone")), replace=True), OSError
        )
        self.assertEqual(self.get("spam/x"), b"before")

    def test_stores_nothing_of_a_body_of_another_size(self) -> None:
        """A body of another size than announced stores nothing."""
        for size in (2, 4):
            self.refused(self.blobs.write("spam/x", Fed(b"123", None, size=size)), EOFError)
        self.assertEqual(self.have(contents(self.blobs)), [])

    def test_stores_nothing_of_a_write_that_is_cancelled(self) -> None:
        """A write that is cancelled while it waits for its body closes it and stores nothing."""
        for first in (b"x", b"x" * (2 << 20)):
            body = Fed(first)
            writing = start(self.blobs.write("spam/x", body))
            self.assertNoResult(writing)
            self.assertEqual(self.have(contents(self.blobs)), [])
            writing.cancel()
            self.failureResultOf(writing)
            self.assertTrue(body.closed)
            self.assertEqual(self.have(contents(self.blobs)), [])
        self.put("spam/x", b"the key is free")

    def test_one_writer_wins(self) -> None:
        """Of two concurrent writers of one key the first to finish wins, whole; the other gets
        `Exists`.
        """
        one, other = Fed(b"1" * 9), Fed(b"2" * (2 << 20))
        writing_one, writing_other = (
            start(self.blobs.write("spam/x", one)),
            start(self.blobs.write("spam/x", other)),
        )
        one.feed(None)
        self.assertEqual(self.successResultOf(writing_one).size, 9)
        other.feed(b"2")
        other.feed(None)
        self.failureResultOf(writing_other, Exists)
        self.assertEqual(self.get("spam/x"), b"1" * 9)
        self.assertEqual(self.have(contents(self.blobs)), ["spam/x"])

    def test_last_replacer_wins(self) -> None:
        """Of two concurrent replacements the last to finish wins, whole."""
        one, other = Fed(b"1" * 9), Fed(b"2" * 5)
        writing_one = start(self.blobs.write("spam/x", one, replace=True))
        writing_other = start(self.blobs.write("spam/x", other, replace=True))
        other.feed(None)
        self.successResultOf(writing_other)
        self.assertEqual(self.get("spam/x"), b"2" * 5)
        one.feed(None)
        self.successResultOf(writing_one)
        self.assertEqual(self.get("spam/x"), b"1" * 9)

    def test_deletes(self) -> None:
        """A deleted blob is missing and its key free; deleting it again is no error."""
        self.put("spam/x", b"x")
        self.put("spam/y", b"y")
        self.have(self.blobs.delete("spam/x"))
        self.have(self.blobs.delete("spam/x"))
        self.refused(self.blobs.read("spam/x"), Missing)
        self.assertEqual(self.have(contents(self.blobs)), ["spam/y"])
        self.put("spam/x", b"again")
        self.assertEqual(self.get("spam/x"), b"again")

    # --- listing, links ---

    def test_lists_in_order(self) -> None:
        """A listing is in the order of the keys' UTF-8 bytes, whatever folders they make; a prefix
        is any beginning.
        """
        for key in CROWDED:
            self.put(key, b"")
        ordered = sorted(CROWDED, key=str.encode)
        self.assertEqual(self.have(contents(self.blobs)), ordered)
        prefixes = {key[:length] for key in CROWDED for length in range(1, len(key) + 1)}
        for prefix in sorted(
            prefixes
            | {"zzz", "a/b/", "a//", "/", "..", "../", "a/../", "b/", "\udc80", "\0", "\0/"}
        ):
            self.assertEqual(
                self.have(contents(self.blobs, prefix)),
                [key for key in ordered if key.startswith(prefix)],
                prefix,
            )

    def test_lists_while_it_changes(self) -> None:
        """Deletions and writes during a listing do not break it, and all other blobs come exactly
        once.
        """
        keys = [f"p{number:03d}/x" for number in range(60)]
        for key in keys:
            self.put(key, b"")

        async def listed() -> list[str]:
            found: list[str] = []
            async with aclosing(self.blobs.list()) as listing:
                async for blob in listing:
                    if not found:
                        await self.blobs.delete("p050/x")
                        await self.blobs.write("p051/new", BytesBody(b""))
                    found.append(blob.key)
            return found

        found = self.have(listed())
        self.assertEqual(
            [key for key in found if key not in ("p050/x", "p051/new")],
            [key for key in keys if key != "p050/x"],
        )
        self.assertEqual(len(found), len(set(found)))

    def test_links(self) -> None:
        """A link is a URL, or None."""
        self.put("spam/x", b"x")
        link = self.have(self.blobs.link("spam/x", timedelta(minutes=1)))
        self.assertTrue(link is None or link.url.startswith("http"))

    def test_is_a_dict(self) -> None:
        """Operations in any order give the content that a dict would have."""
        run_model(lambda: BlobsModel(self, self.make), examples=15, steps=20)
