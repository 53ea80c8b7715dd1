"""Comparing with a storage that others write to."""

from __future__ import annotations

from contextlib import aclosing
from functools import cache
from itertools import product
from typing import Any

from attrs import evolve
from hypothesis import HealthCheck, settings, stateful
from hypothesis import strategies as st

from pypid.core.errors import Archived, PypidError, StorageDown
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.records.layout import kept_key
from pypid.flow import BytesBody, start
from pypid.index import Index
from pypid.ports import Body
from tests.distributions import sdist, wheel
from tests.index.faulty_blobs import Storm, Watched
from tests.index.file_cache_cases import listed, no_metadata
from tests.index.uploads import (
    SPAM,
    WHEEL,
    IndexCase,
    an_index,
    digests,
    everything,
    publishing,
    sent,
)

CACHED, EGGS = "eggs-1.0.tar.gz", project_name("eggs")
NAMES = tuple(map(project_name, ("spam", "eggs", "spam-and-eggs", "a")))


class CompareTests(IndexCase):
    """What a comparison notices, and what it leaves alone."""

    def reads(self, index: Index) -> list[str]:
        """What a comparison reads, besides the listings of all, and of what is kept of theirs."""
        watched = Watched(self.store)
        self.have(
            an_index(
                watched,
                index.catalog,
                index.source.upstream,
                index.context.policy,
                index.context.world,
            ).maintenance.reconcile()
        )
        return [
            asked
            for asked in watched.asked
            if asked not in ("list ", "list .kept/", "list .pypid/held/")
        ]

    def test_unchanged_is_not_read(self) -> None:
        """What has not changed since the last comparison is not read again, not even where files
        lie elsewhere.
        """
        for name in ("spam", "eggs", "ham"):
            self.publish(sent(name.encode(), f"{name}-1.0.tar.gz"))
        self.put(f"wheels/{WHEEL}", wheel())
        index = self.restarted()
        self.have(index.maintenance.rebuild("dave"))
        self.have(index.maintenance.reconcile())
        self.assertEqual(self.reads(index), [])
        self.have(self.index.manager.yank(project_name("eggs"), ["eggs-1.0.tar.gz"], ""))
        self.assertEqual({asked.split()[1].split("/")[0] for asked in self.reads(index)}, {"eggs"})
        self.assertEqual(self.reads(index), [])

    def test_listing_that_fails(self) -> None:
        """A listing that fails midway proves no absence, forgets nothing, and keeps what was read
        so far.
        """
        for name in ("a", "b", "spam"):
            self.publish(sent(name.encode(), f"{name}-1.0.tar.gz"))

        class Broken(Watched):
            async def list(self, prefix: str = "") -> Any:
                async with aclosing(self._blobs.list(prefix)) as listing:
                    async for blob in listing:
                        if blob.key.startswith("spam") and not prefix:
                            raise StorageDown("away.")
                        yield blob

        for index in (self.index, self.restarted()):
            held = self.have(everything(index))
            broken = an_index(
                Broken(self.store),
                index.catalog,
                index.source.upstream,
                index.context.policy,
                index.context.world,
            )
            self.refused(broken.maintenance.reconcile(), StorageDown)
            self.assertFalse(self.have(index.catalog.is_complete()))
            self.assertEqual(set(self.have(everything(index))), {*held, "a"})

    def test_one_project_that_cannot_be_read(self) -> None:
        """One project that the storage does not give keeps no other from being known; absence is
        not proven.
        """
        for name in ("a", "spam", "z"):
            self.publish(sent(name.encode(), f"{name}-1.0.tar.gz"))

        class Denied(Watched):
            async def read(self, key: str, span: object = None) -> Any:
                if key.startswith("spam"):
                    raise StorageDown("it may not be accessed.")
                return await self._blobs.read(key)

        index = self.restarted(Denied(self.store))
        self.refused(index.maintenance.reconcile(), StorageDown)
        self.assertEqual(sorted(self.have(everything(index))), ["a", "z"])
        self.assertFalse(self.have(index.catalog.is_complete()))
        self.refused(index.project(SPAM), StorageDown)

    def test_published_meanwhile(self) -> None:
        """What is published while the listing is under way is not forgotten, wherever the listing
        is.
        """
        for name in ("b", "m", "y"):
            self.publish(sent(name.encode(), f"{name}-1.0.tar.gz"))
        index = self.restarted()

        class Busy(Watched):
            async def list(self, prefix: str = "") -> Any:
                async for blob in self._blobs.list(prefix):
                    yield blob
                    if blob.key == "m/m-1.0.tar.gz" and not prefix:
                        for name in ("a", "m", "z"):
                            await publishing(writer, sent(name.encode(), f"{name}-2.0.tar.gz"))
                        await writer.manager.delete(project_name("y"), ["y-1.0.tar.gz"], "carol")

        writer = an_index(
            self.store,
            index.catalog,
            index.source.upstream,
            index.context.policy,
            index.context.world,
        )
        watching = an_index(
            Busy(self.store),
            index.catalog,
            index.source.upstream,
            index.context.policy,
            index.context.world,
        )
        watching.context = evolve(writer.context, blobs=watching.context.blobs)
        watching.context.records.locks = writer.context.records.locks
        watching.maintenance = evolve(watching.maintenance, context=watching.context)
        self.have(watching.maintenance.reconcile())
        expected = [f"{release}.0.tar.gz" for release in ("a-2", "b-1", "m-1", "m-2", "z-2")]
        self.assertEqual(sorted(self.files(writer)), expected)
        self.compared(writer)


class HeldBytesTests(IndexCase):
    """Bytes of blocked files, which an older version has moved aside, return."""

    def setUp(self) -> None:
        super().setUp()
        self.have(self.index.maintenance.reconcile())
        self.publish(sent(b"blocked"))
        self.keep(self.index)
        for where in (f"spam/{WHEEL}", kept_key(EGGS, CACHED)):
            self.put(f".pypid/held/b1/{where}", self.get(where))
            self.have(self.store.delete(where))

    def keep(self, index: Index) -> None:
        """Cache a file."""

        async def body() -> Body:
            return BytesBody(b"cached")

        file = listed(b"cached", CACHED)
        self.have(index.file_cache.kept.keep(file, digests(b"cached"), body, no_metadata))

    def held(self) -> list[str]:
        """The keys of the bytes that are still aside."""

        async def listed_keys() -> list[str]:
            return [blob.key async for blob in self.store.list(".pypid/held/")]

        return self.have(listed_keys())

    def test_return(self) -> None:
        """Local and cached files have their bytes again, and are listed."""
        index = self.restarted()
        self.have(index.maintenance.reconcile())
        self.assertEqual(self.files(index), {WHEEL: b"blocked"})
        self.assertEqual(self.get(kept_key(EGGS, CACHED)), b"cached")
        cached = self.have(index.catalog.upstream.get(EGGS)).kept
        self.assertEqual([file.filename for file in cached], [CACHED])
        self.assertEqual(self.held(), [])

    def test_bucket(self) -> None:
        """A bucket copies by itself; what is in an archive stays until it can be read."""
        case, archived = self, [True]

        class Copying:
            async def copy(self, key: str, target: str) -> None:
                if archived[0]:
                    raise Archived()
                await case.store.write(target, await case.store.read(key))

        async def bucket() -> Any:
            return Copying()

        index = self.restarted()
        self.patch(index.maintenance, "bucket", bucket)
        self.have(index.maintenance.reconcile())
        self.assertEqual((self.files(index), len(self.held())), ({}, 2))
        archived[0] = False
        self.have(index.maintenance.reconcile())
        self.assertEqual((self.files(index), self.held()), ({WHEEL: b"blocked"}, []))

    def test_every_step(self) -> None:
        """Wherever the process dies or the storage fails, the next one finishes; nothing is lost."""
        for step, late in product(range(1, 12), (False, True)):
            self.setUp()
            storm = Storm(self.store, step, lambda: StorageDown("gone"), late=late, for_good=True)
            self.failureResultOf(start(self.restarted(storm).maintenance.reconcile()), StorageDown)
            index = self.restarted()
            self.have(index.maintenance.reconcile())
            self.assertEqual(self.files(index), {WHEEL: b"blocked"})
            self.assertEqual(self.held(), [])

    def test_other_bytes(self) -> None:
        """Bytes that are not those of the file are not replaced, and none are deleted."""
        self.put(f"spam/{WHEEL}", b"something else")
        self.have(self.restarted().maintenance.reconcile())
        self.assertEqual(self.get(f"spam/{WHEEL}"), b"something else")
        self.assertEqual(self.held(), [f".pypid/held/b1/spam/{WHEEL}"])
        self.flushLoggedErrors()


class BehindTests(IndexCase):
    """Whatever is done behind the catalog's back, a comparison brings it up to what the storage
    holds.
    """

    def test_anything_behind_its_back(self) -> None:
        """After any sequence of changes by others, the catalog compared is the catalog made from
        nothing.
        """
        modest = settings(
            max_examples=25,
            stateful_step_count=25,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        stateful.run_state_machine_as_test(lambda: _Behind(self), settings=modest)  # type: ignore[arg-type]


_filenames = st.sampled_from(
    tuple(
        (name, f"{name.replace('-', '_')}-{version}{end}")
        for name in NAMES
        for version in ("1.0", "2.0")
        for end in (".tar.gz",)
    )
)
_places = st.sampled_from(("", "wheels/", "spam/", "eggs/", "a/b/"))


class _Behind(stateful.RuleBasedStateMachine):
    """`case.index` is compared now and then; `other` makes the changes."""

    def __init__(self, case: BehindTests) -> None:
        super().__init__()
        self.case = case
        IndexCase.setUp(case)
        self.other = case.restarted()

    def attempt(self, coroutine: Any) -> None:
        outcome = start(coroutine)
        outcome.addErrback(lambda failure: failure.trap(PypidError) and None)
        self.case.successResultOf(outcome)
        self.case.clock.advance(60)

    @stateful.rule(name=_filenames, data=st.sampled_from((b"one", b"two")), overwrite=st.booleans())
    def publish(self, name: Any, data: bytes, overwrite: bool) -> None:
        self.attempt(publishing(self.other, sent(data, name[1]), overwrite=overwrite))

    @stateful.rule(name=_filenames, reason=st.sampled_from(("", "why")))
    def yank(self, name: Any, reason: str) -> None:
        self.attempt(self.other.manager.yank(name[0], [name[1]], reason))

    @stateful.rule(name=_filenames)
    def unyank(self, name: Any) -> None:
        self.attempt(self.other.manager.unyank(name[0], [name[1]]))

    @stateful.rule(name=_filenames)
    def delete(self, name: Any) -> None:
        self.attempt(self.other.manager.delete(name[0], [name[1]], "carol"))

    @stateful.rule(name=st.sampled_from(NAMES), status=st.sampled_from(Status))
    def status(self, name: Any, status: Status) -> None:
        self.attempt(self.other.manager.set_status(name, status, "why"))

    @stateful.rule(name=st.sampled_from(NAMES))
    def release(self, name: Any) -> None:
        self.attempt(self.other.manager.delete_project(name, "carol"))
        self.attempt(self.other.manager.release_name(name))

    @stateful.rule(name=_filenames, place=_places)
    def drop(self, name: Any, place: str) -> None:
        version = name[1].removesuffix(".tar.gz").rpartition("-")[2]
        self.case.put(place + name[1], _sdist(name[0], version))

    @stateful.rule(which=st.integers(0, 50), how=st.sampled_from(("remove", "damage")))
    def spoil(self, which: int, how: str) -> None:
        stored = self.case.keys()
        keys = [
            key for key in stored if how == "remove" or not key.endswith(".metadata")
        ]  # that shows in its hash only
        if keys and how == "remove":
            self.case.have(self.case.store.delete(keys[which % len(keys)]))
        elif keys:
            self.case.put(keys[which % len(keys)], b"{")

    @stateful.rule()
    def adopt(self) -> None:
        self.attempt(self.other.maintenance.rebuild("dave"))

    @stateful.rule()
    def sweep(self) -> None:
        before = self.case.files(self.case.compared(self.case.restarted()))
        self.attempt(self.other.maintenance.check(sweep=True))
        assert self.case.files(self.case.compared(self.case.restarted())) == before

    @stateful.rule()
    def restart(self) -> None:
        self.other = self.case.restarted()

    @stateful.rule()
    def compare(self) -> None:
        self.case.compared()
        self.case.files()


_sdist = cache(sdist)
