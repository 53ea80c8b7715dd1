"""Files that lie where a pypicloud, or an older pypid beside it, stored them: they stay there until
they are overwritten or deleted.
"""

from __future__ import annotations

from hashlib import md5, sha256

import msgspec

from pypid.core.errors import Missing, NoSuchFile
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import (
    ObjectKind,
    keys_in_layouts,
    sidecar_key,
)
from pypid.index.local.publish import UNDER_WAY, PublishOutcome
from pypid.index.local.storage_check import StorageProblem
from tests.distributions import sdist, wheel
from tests.index.uploads import SPAM, WHEEL, IndexCase, sent, signed

SDIST = "spam-2.0.tar.gz"
HASH = md5(WHEEL.encode(), usedforsecurity=False).hexdigest()[:4]
AT = f"at-{sha256(b'spam').hexdigest()[:16]}"
ELSEWHERE = (
    f"{HASH}/spam/{WHEEL}",
    f"spam/1.0/{WHEEL}",
    f"spam/{AT}/{WHEEL}",
    f"{HASH}/spam/{AT}/{WHEEL}",
)


class ElsewhereTests(IndexCase):
    """A file with a record that names another key than pypid's."""

    def begin(self, where: str, *, adopts: bool = True) -> None:
        """A published and yanked file whose bytes are at the key, with what pypicloud wrote."""
        self.adopts = False
        self.setUp()
        self.publish(signed(b"spam"))
        self.have(self.index.yank(SPAM, [WHEEL], "bad"))
        (file,) = self.have(self.index.project(SPAM)).files
        self.have(self.store.delete(f"spam/{WHEEL}"))
        self.have(self.store.delete(f"spam/{WHEEL}.record.json"))
        moved = msgspec.structs.replace(file, key=where)
        self.put(f"spam/{WHEEL}.record.json", dump_record(moved))
        for kind in (ObjectKind.METADATA, ObjectKind.PROVENANCE):
            data = self.get(sidecar_key(file, kind))
            self.have(self.store.delete(sidecar_key(file, kind)))
            self.put(sidecar_key(moved, kind), data)
        self.put(where, b"spam")
        self.put(f"{where}.meta", b"{}")
        self.adopts = adopts
        self.index = self.restarted()
        self.have(self.index.reconcile())

    def test_life(self) -> None:
        """It is served from there, and goes with all that belongs to it: new bytes lie where
        pypid's do.
        """
        for where in ELSEWHERE:
            for adopts in (False, True):
                self.begin(where, adopts=adopts)
                self.assertEqual(self.files(), {WHEEL: b"spam"})
                found = self.have(self.index.file(SPAM, WHEEL))
                self.assertEqual((found.key, found.yanked), (where, "bad"))
                self.assertIs(
                    self.publish(signed(b"over"), overwrite=True), PublishOutcome.OVERWRITTEN
                )
                self.assertEqual(self.files(self.compared()), {WHEEL: b"over"})
                self.assertEqual([key for key in self.keys() if key.startswith(where)], [])
                self.clock.advance(UNDER_WAY.total_seconds())
                self.assertEqual(self.have(self.index.check(hashes=True)).findings, ())
                self.begin(where, adopts=adopts)
                self.have(self.index.delete(SPAM, [WHEEL], "carol"))
                self.refused(self.index.file(SPAM, WHEEL), NoSuchFile)
                self.have(self.index.delete_project(SPAM, "carol"))
                self.have(self.index.release_name(SPAM))
                self.assertEqual(self.keys(), [])

    def test_left_over(self) -> None:
        """The bytes of a delete that broke off are found and swept, wherever they lie; those of no
        file of ours stay.
        """
        for where, other in zip(
            keys_in_layouts(SPAM, "1.0", WHEEL), keys_in_layouts(SPAM, "2.0", SDIST), strict=True
        ):
            self.adopts = True
            self.setUp()
            self.have(self.index.reconcile())
            self.publish(sent())
            self.have(self.index.delete(SPAM, [WHEEL], "carol"))
            self.put(where, b"spam")
            self.put(other, b"dropped")
            self.clock.advance(UNDER_WAY.total_seconds() + 2_000_000_000)
            found = {
                each.key: (each.wrong, each.swept)
                for each in self.have(self.index.check(sweep=True)).findings
            }
            self.assertEqual(found[where], (StorageProblem.LEFT_OVER, True))
            self.assertEqual(found[other], (StorageProblem.NO_RECORD, False))
            self.refused(self.store.stat(where), Missing)


class PlaceTests(IndexCase):
    """Back from keys."""

    def test_pypicache(self) -> None:
        """What pypicache kept, PREFIX/packages/<letter>/<project>/<file>, is adopted in place."""
        self.have(self.index.reconcile())
        left = {
            f"s/spam/{WHEEL}": wheel(),
            "s/spam/spam-2.0.tar.gz": sdist(version="2.0"),
            "e/eggs/eggs-1.0.zip": sdist("eggs", suffix=".zip"),
        }
        for key, data in left.items():
            self.put(key, data)
        _, adopted = self.have(self.index.adopt("", "dave"))
        self.assertEqual(
            {each.key: each.outcome.value for each in adopted}, dict.fromkeys(left, "adopted")
        )
        self.assertEqual(
            set(self.files(self.compared())), {WHEEL, "spam-2.0.tar.gz", "eggs-1.0.zip"}
        )
        self.assertEqual({key: self.get(key) for key in left}, left)
