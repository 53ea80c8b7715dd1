"""What `pypid storage check` finds, what it removes, and what it leaves alone."""

from __future__ import annotations

from pypid.core.records.documents import Yanked, dump
from pypid.core.records.layout import ObjectKind, overwrite_key, set_aside_key
from pypid.flow import start
from pypid.index.local.publish import UNDER_WAY
from pypid.index.local.storage_check import Checker, CheckReport, StorageProblem
from tests.distributions import wheel
from tests.index.faulty_blobs import Died, Storm, Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, an_index, digests, publishing, sent, signed

SDIST = "spam-1.0.tar.gz"
LEFT = f"spam/{WHEEL}.at-{'0' * 16}"


class CheckTests(IndexCase):
    """One thing wrong at a time."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(signed())
        self.publish(sent(b"sdist", SDIST))

    def check(self, *, sweep: bool = False, hashes: bool = False, old: bool = True) -> CheckReport:
        if old:
            self.clock.advance(UNDER_WAY.total_seconds())
        return self.have(self.index.maintenance.check(sweep=sweep, hashes=hashes))

    def found(
        self, *, sweep: bool = False, hashes: bool = False, old: bool = True
    ) -> dict[str, StorageProblem]:
        return {
            each.key: each.wrong
            for each in self.check(sweep=sweep, hashes=hashes, old=old).findings
        }

    def test_nothing_wrong(self) -> None:
        """After every kind of change there is nothing to find, and nothing to sweep."""
        self.have(self.index.manager.yank(SPAM, [SDIST], "why"))
        self.publish(signed(b"over"), overwrite=True)
        self.publish(sent(b"gone", "spam-3.0.tar.gz"))
        self.have(self.index.manager.delete(SPAM, ["spam-3.0.tar.gz"], "carol"))
        self.put(f"wheels/{wheel_of('eggs')}", wheel("eggs"))
        self.have(self.index.maintenance.rebuild("dave"))
        before = self.keys()
        found = self.check(sweep=True, hashes=True)
        self.assertEqual((found.findings, found.files), ((), 3))
        self.assertEqual(self.keys(), before)

    def test_lost_bytes(self) -> None:
        """A record whose bytes are gone is found, beside its project or elsewhere; the advice names
        the record.
        """
        self.have(self.store.delete(f"spam/{WHEEL}"))
        found = self.check(sweep=True)
        self.assertEqual(
            [(each.key, each.wrong, each.swept) for each in found.findings],
            [(f"spam/{WHEEL}", StorageProblem.LOST_BYTES, False)],
        )
        self.assertIn(f"spam/{WHEEL}.record.json", found.findings[0].advice)
        self.publish(sent())
        self.assertEqual(self.found(), {})

    def test_check_puts_published_bytes_back_from_a_copy_set_aside(self) -> None:
        """Where the bytes that a record names were replaced by others and kept aside, a sweep puts
        them back.
        """
        aside = set_aside_key(SPAM, WHEEL, digests(b"spam").sha256 or "")
        for data in (b"evil", None):
            self.put(aside, b"spam")
            self.have(self.store.delete(f"spam/{WHEEL}"))
            if data is not None:
                self.put(f"spam/{WHEEL}", data)
            self.assertIn(aside, [f.copy for f in self.check(hashes=True).findings])
            found = self.check(hashes=True, sweep=True)
            self.assertEqual(
                [each.key for each in found.findings if each.mended], [f"spam/{WHEEL}"]
            )
            self.assertEqual(self.get(f"spam/{WHEEL}"), b"spam")
            self.assertEqual(self.files(self.index)[WHEEL], b"spam")
            self.assertEqual(set(self.found(hashes=True).values()), {StorageProblem.SET_ASIDE})

    def test_documents(self) -> None:
        """Documents that a record promises and that are gone, or other metadata than was published,
        are found.
        """
        for suffix in (".metadata", ".provenance.json"):
            self.setUp()
            self.have(self.store.delete(f"spam/{WHEEL}{suffix}"))
            self.assertEqual(self.found(), {f"spam/{WHEEL}{suffix}": StorageProblem.LOST_DOCUMENT})
        self.setUp()
        self.put(f"spam/{WHEEL}.metadata", b"Metadata-Version: 9\n")
        self.assertEqual(
            (self.found(), self.found(hashes=True)),
            ({}, {f"spam/{WHEEL}.metadata": StorageProblem.OTHER_DOCUMENT}),
        )

    def test_damaged(self) -> None:
        """Documents that cannot be read are found and never removed; nor is what a damaged record
        may refer to.
        """
        damaged = [
            f"spam/{WHEEL}.record.json",
            f"spam/{SDIST}.yanked.json",
            "spam/spam-2.0.tar.gz.deleted.json",
            "spam/project.json",
        ]
        for where in damaged:
            self.put(where, b"{")
        before = self.keys()
        self.assertEqual(
            self.found(sweep=True, hashes=True), dict.fromkeys(damaged, StorageProblem.DAMAGED)
        )
        self.assertEqual(self.keys(), before)

    def test_left_over(self) -> None:
        """What is ours and nothing refers to is removed, once it is old enough; and nothing else
        is.
        """
        before = self.keys()
        rest = [
            f"spam/spam-9.0.tar.gz{kind.value}"
            for kind in (
                ObjectKind.METADATA,
                ObjectKind.YANKED,
                ObjectKind.SIGNATURE,
                ObjectKind.PROVENANCE,
            )
        ]
        rest += [LEFT, f"{LEFT}.metadata", f"{LEFT}.asc", f"{LEFT}.provenance.json"]
        for where in rest:
            self.put(where, dump(Yanked("why")))
        self.assertEqual(self.found(sweep=True, old=False), {})
        self.assertEqual(self.found(), dict.fromkeys(rest, StorageProblem.LEFT_OVER))
        self.assertEqual(len(self.keys()), len(before) + len(rest))
        self.assertTrue(all(each.swept for each in self.check(sweep=True).findings))
        self.assertEqual(self.keys(), before)

    def test_published_meanwhile(self) -> None:
        """What comes to be referred to between finding and removing stays."""
        where = overwrite_key(SPAM, WHEEL, sent(b"over").upload.digests.sha256)
        self.put(where, b"over")
        self.clock.advance(UNDER_WAY.total_seconds())
        this = self

        class Late(Watched):
            async def stat(self, key: str) -> object:  # type: ignore[override]
                if key == where and this.files().get(WHEEL) != b"over":
                    await publishing(this.index, sent(b"over"), overwrite=True)
                return await self._blobs.stat(key)

        context = an_index(
            Late(self.store),
            self.index.catalog,
            self.index.source.upstream,
            self.index.context.policy,
            self.index.context.world,
        ).context
        (finding,) = self.have(Checker(context).check(sweep=True)).findings
        self.assertFalse(finding.swept)
        self.assertEqual(self.files(self.compared()), {WHEEL: b"over", SDIST: b"sdist"})


class AfterCrashTests(IndexCase):
    """What crashes leave is swept, and nothing that is published."""

    def test_after_each_crash(self) -> None:
        """Wherever a process died, a sweep leaves what is published, and at most a file that could
        be taken in.
        """
        changes = (
            lambda index: publishing(index, signed()),
            lambda index: publishing(index, signed(b"over"), overwrite=True),
            lambda index: index.manager.delete(SPAM, [WHEEL], "carol"),
        )
        for number, change in enumerate(changes):
            for nth in range(1, 40):
                self.setUp()
                if number:
                    self.publish(signed())
                storm = Storm(self.store, nth, Died, for_good=True)
                start(change(self.restarted(storm))).addErrback(lambda failure: None)
                self.clock.advance(UNDER_WAY.total_seconds())
                before = self.files(self.compared(self.restarted()))
                self.have(self.restarted().maintenance.check(sweep=True))
                self.assertEqual(self.files(self.compared(self.restarted())), before)
                left = {
                    each.wrong
                    for each in self.have(self.restarted().maintenance.check(hashes=True)).findings
                }
                self.assertLessEqual(left, {StorageProblem.NO_RECORD, StorageProblem.LEFT_OVER})
                if not storm.struck:
                    self.assertEqual(left, set())
                    break
            else:
                self.fail("a change of more than 39 operations")


def wheel_of(name: str) -> str:
    return f"{name}-1.0-py3-none-any.whl"
