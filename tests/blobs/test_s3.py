"""S3 keeps the contract: over a real socket, whatever the store can do besides. (Against real
stores: tests/live.)
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from itertools import count
from typing import Any, TypeVar

from attrs import frozen
from twisted.internet import reactor as real_reactor  # noqa: TID251
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IHostnameResolver, IHostResolution
from twisted.trial.unittest import SynchronousTestCase
from zope.interface import implementer

from pypid.blobs.s3 import signatures, store
from pypid.blobs.s3.objects import Ability
from pypid.blobs.s3.store import S3Blobs
from pypid.core.configuration.choices import Encryption
from pypid.core.errors import Exists, Missing, StorageDown
from pypid.flow import BytesBody, World, at_once, start
from tests.blobs.bucket import Said, error
from tests.blobs.fake_s3 import EVERYTHING, FakeS3, says
from tests.blobs.s3_cases import NOW, S3Case, abilities, chance, resolved, settings
from tests.support.blobs import BlobsContract
from tests.support.duplicates import DuplicatingContract

T = TypeVar("T")
reactor: Any = real_reactor
TURNS = 5_000


@implementer(IHostResolution)
@frozen
class Numbers:
    """Knows what an address of numbers is without asking in threads, which run only while the
    reactor does.
    """

    name: str

    def cancel(self) -> None:
        raise NotImplementedError


@implementer(IHostnameResolver)
class NoNames:
    """Resolves nothing but numbers."""

    def resolveHostName(
        self, receiver: Any, name: str, port: int = 0, *more: Any, **others: Any
    ) -> Any:
        found = Numbers(name)
        receiver.resolutionBegan(found)
        receiver.addressResolved(IPv4Address("TCP", name, port))
        receiver.resolutionComplete()
        return found


def turn(result: Deferred[T]) -> Deferred[T]:
    """Let the reactor turn until there is a result; trial's synchronous tests have no reactor that
    runs.
    """
    for _ in range(TURNS):
        if result.called and not result.paused:
            break
        reactor.iterate(0.001)
    return result


class Contract(BlobsContract, DuplicatingContract):
    """With a reactor that is turned by hand."""

    able: Sequence[str] = EVERYTHING
    numbers = count()

    def setUp(self) -> None:
        self.addCleanup(reactor.installNameResolver, reactor.installNameResolver(NoNames()))
        self.fake = FakeS3(reactor, lambda: NOW, self.able)
        self.opened: list[S3Blobs] = []
        self.patch(store, "probe", self._told)
        self.patch(signatures, "resolve", resolved)
        super().setUp()

    def tearDown(self) -> None:
        for blobs in self.opened:
            self.have(blobs.close())
        turn(self.fake.port.stopListening())
        turn(start(self.fake.all_gone()))
        self.assertEqual(self.fake.errors, [])

    async def _told(self, *_: object) -> Ability:
        return abilities(self.able)

    async def make(self) -> S3Blobs:
        world = World(reactor, lambda: NOW, at_once, chance)
        given = settings(self.fake, prefix=f"store-{next(self.numbers)}/", timeout=10.0)
        self.opened.append(await store.open(given, world, reactor))
        return self.opened[-1]

    async def make_duplicating(self) -> S3Blobs:
        return await self.make()

    def successResultOf(self, result: Any) -> Any:
        return super().successResultOf(turn(result))

    def failureResultOf(self, result: Any, *kinds: Any) -> Any:
        return super().failureResultOf(turn(result), *kinds)

    def assertNoResult(self, result: Any) -> None:
        for _ in range(5):
            reactor.iterate(0.001)
        super().assertNoResult(result)


class AbleContractTests(Contract, SynchronousTestCase):
    """A store that can do all keeps the contract."""


class UnableContractTests(Contract, SynchronousTestCase):
    """A store that lets every writer win, and has no checksums, keeps the contract within this
    process.
    """

    able = ()


class ProbeTests(S3Case):
    """What the start finds out about a store."""

    probes = True

    async def test_abilities(self) -> None:
        """What a store can do is found by trying; nothing of that stays, and no
        listing shows it.
        """
        for able, exclusive, exclusive_puts in (
            (EVERYTHING, True, True),
            (("once",), False, True),
            (("once_in_parts",), False, False),
            ((), False, False),
        ):
            self.bucket.able = able
            blobs = await self.open()
            found = blobs.ability.exclusive, blobs.ability.exclusive_puts
            self.assertEqual(found, (exclusive, exclusive_puts), able)
            self.assertEqual((self.bucket.objects, self.bucket.uploads), ({}, {}))

    async def test_store_with_several_winners_is_asked_once_before_a_write(self) -> None:
        """The write itself tells that the bucket is gone; a look before it need not."""
        self.bucket.able = ()
        blobs = await self.open()
        self.fake.asked.clear()
        await blobs.write("spam/x", BytesBody(b"x"))
        self.assertEqual(
            [each.operation for each in self.fake.asked], ["HeadObject", "PutObject", "HeadObject"]
        )
        self.bucket.gone = True
        error = await self.fails(StorageDown, blobs.write("spam/y", BytesBody(b"x")))
        self.assertIn("its bucket is not there", str(error))

    async def test_knows_no_wish(self) -> None:
        """A store that refuses what it does not know is asked for less."""
        no = says(error("NotImplemented", 501))
        self.fake.script("PutObject", no)
        self.assertTrue((await self.open()).ability.exclusive)
        self.fake.script("PutObject", no, no)
        self.assertFalse((await self.open()).ability.exclusive)
        self.fake.script("PutObject", no, no, no)
        self.assertFalse((await self.open()).ability.exclusive)
        self.fake.script("CreateMultipartUpload", no)
        self.assertTrue((await self.open()).ability.exclusive)
        self.fake.script("CompleteMultipartUpload", no)
        self.assertFalse((await self.open()).ability.exclusive)

    async def test_several_winners(self) -> None:
        """A store that tells several who write at once that they won is not exclusive, even if it
        refuses a late one.
        """
        won = says(Said(200, b"", {"ETag": '"x"'}))
        taken = says(error("PreconditionFailed", 412))
        first = says(Said(200, b"", {"ETag": '"x"'}))
        self.fake.script("PutObject", first, taken, won, won, taken, taken)
        self.assertFalse((await self.open()).ability.exclusive)
        self.fake.script(
            "PutObject", first, taken, won, taken, taken, taken, won, taken, won, taken
        )
        self.assertFalse((await self.open()).ability.exclusive_puts)

    async def test_swift(self) -> None:
        """OpenStack's says who it is, and is known to let several win."""
        self.fake.script("DeleteObject", says(Said(204, b"", {"x-openstack-request-id": "tx1"})))
        self.assertFalse((await self.open()).ability.exclusive_puts)

    async def test_scratch_is_no_blob(self) -> None:
        """What is tried lies where no blob can be."""
        self.bucket.objects["some/prefix-.pypid/tmp/x"] = (
            self.bucket.objects.get("x") or await self._stored()
        )
        self.assertEqual(await self.keys(), ["spam/x"])
        await self.fails(Missing, self.blobs.stat(".pypid/tmp/x"))
        await self.fails(ValueError, self.blobs.write(".pypid/tmp/x", BytesBody(b"")))

    async def _stored(self) -> Any:
        await self.blobs.write("spam/x", BytesBody(b"x"))
        return self.bucket.objects["some/prefix-spam/x"]


class KeyTests(S3Case):
    """Keys that S3 has limits for."""

    async def test_long_keys(self) -> None:
        """A key of more than 1,024 bytes with its prefix is missing, and to write it
        is a mistake.
        """
        longest = "x" * (1024 - len("some/prefix-"))
        await self.blobs.write(longest, BytesBody(b"x"))
        self.assertEqual((await self.blobs.stat(longest)).size, 1)
        for key in (longest + "y", "\u00e4" * 600):
            await self.fails(ValueError, self.blobs.write(key, BytesBody(b"x")))
            await self.fails(Missing, self.blobs.read(key))
            await self.blobs.delete(key)

    async def test_others_objects(self) -> None:
        """Folder markers and keys that lead nowhere are no blobs; keys outside the prefix are not
        seen.
        """
        await self.blobs.write("spam/x", BytesBody(b"x"))
        for key in (
            "some/prefix-spam/",
            "some/prefix-a//b",
            "some/prefix-../x",
            "some/prefix-",
            "other",
            "some/prefiy",
        ):
            self.bucket.objects[key] = self.bucket.objects["some/prefix-spam/x"]
        self.assertEqual(await self.keys(), ["spam/x"])

    async def test_writers_take_turns(self) -> None:
        """Where the store lets all win, exactly one of many writers in this process does."""
        self.bucket.able = ()
        self.blobs = await self.open()
        writing = [
            start(self.blobs.write("spam/x", BytesBody(b"%d" % number))) for number in range(8)
        ]
        won: list[int] = []
        for number, result in enumerate(writing):
            with contextlib.suppress(Exists):
                await result
                won.append(number)
        self.assertEqual(len(won), 1)
        self.assertEqual(self.stored("spam/x"), b"%d" % won[0])

    async def test_descriptions(self) -> None:
        """What is said of an object is its user metadata; our own mark is none of it."""
        await self.blobs.write("spam/y", BytesBody(b"y"))
        self.assertEqual(await self.blobs.description("spam/y"), {})
        self.bucket.objects["some/prefix-spam/y"].headers["x-amz-meta-uploader"] = "alice"
        self.assertEqual(await self.blobs.description("spam/y"), {"uploader": "alice"})
        await self.fails(Missing, self.blobs.description("spam/z"))

    async def test_what_is_sent(self) -> None:
        """Objects say their type, name and checksum, and are encrypted and classed as the
        configuration wishes.
        """
        blobs = await self.open(
            encryption=Encryption.KMS, kms_key_id="some-key", storage_class="STANDARD_IA"
        )
        self.fake.asked.clear()
        await blobs.write("spam/spam-1.0+h\u00e4m.tar.gz", BytesBody(b"x"))
        sent = self.fake.asked[0].headers
        self.assertEqual(sent["content-type"], "application/octet-stream")
        self.assertIn("filename*=UTF-8''spam-1.0%2Bh%C3%A4m.tar.gz", sent["content-disposition"])
        self.assertEqual(
            sent["x-amz-checksum-sha256"], "LXEWQrcmsEQBYnyp+6wy9chTD7GQPMTbAiWHF5IaSIE="
        )
        self.assertEqual(sent["x-amz-server-side-encryption"], "aws:kms")
        self.assertEqual(sent["x-amz-server-side-encryption-aws-kms-key-id"], "some-key")
        self.assertEqual(sent["x-amz-storage-class"], "STANDARD_IA")
