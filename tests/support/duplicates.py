"""The contract of `Duplicating`, as tests."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

from typing import Protocol

from pypid.core.errors import Exists, Missing
from pypid.flow import BytesBody, whole
from pypid.ports import Blobs, Duplicating
from tests.support.models import LARGE
from tests.support.worlds import Awaiting, contents


class DuplicatingBlobs(Blobs, Duplicating, Protocol):
    """A store that also keeps the contract of `Duplicating`."""


class DuplicatingContract(Awaiting):
    """The contract of `Duplicating`. Mix into a `SynchronousTestCase` whose `make_duplicating`
    gives a new, empty store.
    """

    async def make_duplicating(self) -> DuplicatingBlobs:
        """Return a new, empty store."""
        raise NotImplementedError

    def setUp(self) -> None:
        super().setUp()
        self.both = self.have(self.make_duplicating())

    def written(self, key: str, data: bytes, *, replace: bool = False) -> None:
        """Write a blob."""
        self.have(self.both.write(key, BytesBody(data), replace=replace))

    def bytes_at(self, key: str) -> bytes:
        """Return the bytes of a blob."""

        async def read() -> bytes:
            return await whole(await self.both.read(key), LARGE)

        return self.have(read())

    def test_duplicate_has_the_same_bytes(self) -> None:
        """The bytes are under both keys, and the result is what `stat` says of the new one."""
        for number, data in enumerate((b"", b"x", b"bytes" * 700_000)):
            source, target = f"spam/{number}", f".pypid/index/team/spam/{number}"
            self.written(source, data)
            made = self.have(self.both.duplicate(source, target))
            self.assertEqual((made.key, made.size), (target, len(data)))
            self.assertEqual(self.have(self.both.stat(target)), made)
            self.assertEqual((self.bytes_at(source), self.bytes_at(target)), (data, data))
            self.assertFalse(made.provisional)

    def test_write_to_one_key_leaves_the_other(self) -> None:
        """An overwrite or a removal under one of the keys never changes the bytes under the
        other.
        """
        for first, other in (("a/x", "b/x"), ("b/y", "a/y")):
            self.written(first, b"before")
            self.have(self.both.duplicate(first, other))
            self.written(first, b"after", replace=True)
            self.assertEqual(self.bytes_at(other), b"before")
            self.have(self.both.duplicate(other, first, replace=True))
            self.written(other, b"other", replace=True)
            self.assertEqual(self.bytes_at(first), b"before")
            self.have(self.both.delete(first))
            self.assertEqual(self.bytes_at(other), b"other")

    def test_taken_key_is_refused(self) -> None:
        """A taken key keeps its bytes, unless it is to be replaced; also by itself."""
        self.written("a/x", b"one")
        self.written("b/x", b"other")
        error = self.refused(self.both.duplicate("a/x", "b/x"), Exists)
        assert isinstance(error, Exists)
        self.assertEqual((error.key, self.bytes_at("b/x")), ("b/x", b"other"))
        for _ in range(2):
            self.have(self.both.duplicate("a/x", "b/x", replace=True))
            self.assertEqual(self.bytes_at("b/x"), b"one")
        self.assertEqual(self.have(contents(self.both)), ["a/x", "b/x"])

    def test_missing_source_takes_no_key(self) -> None:
        """Without a source there is no target."""
        error = self.refused(self.both.duplicate("a/x", "b/x"), Missing)
        assert isinstance(error, Missing)
        self.assertEqual(error.key, "a/x")
        self.assertEqual(self.have(contents(self.both)), [])
        self.written("b/x", b"the key is free")

    def test_impossible_target_is_refused(self) -> None:
        """What is no key cannot be a target."""
        self.written("a/x", b"x")
        for key in ("", "../x", "a//b"):
            self.refused(self.both.duplicate("a/x", key), ValueError)
        self.assertEqual(self.have(contents(self.both)), ["a/x"])
