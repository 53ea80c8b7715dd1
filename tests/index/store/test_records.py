"""What the storage says, damaged documents included."""

from __future__ import annotations

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from pypid.core.errors import StorageDown, Unreadable
from pypid.core.model import Project, Status
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, key
from pypid.index.store import records
from tests.index.faulty_blobs import Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, sent, signed
from tests.support import Fed

RECORD = key(SPAM, WHEEL, ObjectKind.RECORD)
SDIST = "spam-1.0.tar.gz"


class DamageTests(IndexCase):
    """Documents that are torn, foreign, or of a newer version: what they hide is never shown by
    accident.
    """

    def setUp(self) -> None:
        super().setUp()
        self.publish(signed())
        self.publish(sent(b"sdist", SDIST))

    def read(self) -> records.StoredProject:
        listing = self.have(self.index.context.records.listing(SPAM))
        return self.have(records.project_of(self.store, SPAM, listing))

    def project(self) -> Project:
        project = self.read().project
        assert project is not None
        return project

    @settings(
        max_examples=60, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(
        st.sampled_from((".record.json", ".yanked.json")),
        st.integers(0, 600),
        st.binary(max_size=3),
    )
    def test_torn(self, suffix: str, at: int, noise: bytes) -> None:
        """However a record or a mark is torn: the other file is there, and no file is shown that
        should not be.
        """
        self.setUp()
        self.have(self.index.manager.yank(SPAM, [WHEEL], "broken"))
        where = f"spam/{WHEEL}{suffix}"
        whole = self.get(where)
        torn = whole[:at] + noise
        self.put(where, torn)
        found = self.read()
        assert found.project is not None
        self.assertIsNotNone(found.project.file(SDIST))
        file = found.project.file(WHEEL)
        if file is not None:
            self.assertIsNotNone(file.yanked)
        if torn.rstrip() != whole.rstrip() and file is None:
            self.assertIsNone(found.mark)

    def test_damaged_yank(self) -> None:
        """A yank that cannot be read, or is of a newer format, is a yank without a reason."""
        for damage in (
            b"",
            b"{",
            b"\xff",
            b'{"reason": "x", "format": 2}',
            b'{"reason": 5}',
            b"null",
        ):
            self.put(f"spam/{WHEEL}.yanked.json", damage)
            file = self.project().file(WHEEL)
            assert file is not None
            self.assertEqual((file.yanked, self.read().mark), ("", None))

    def test_damaged_status(self) -> None:
        """A status that cannot be read, or that this version does not know, is a quarantine."""
        for damage in (b"", b"{", b'{"status": "frozen"}', b'{"status": "active", "format": 2}'):
            self.put("spam/project.json", damage)
            self.assertIs(self.project().status, Status.QUARANTINED)
            self.assertEqual(self.files(self.compared(self.restarted())), {})
        self.have(self.compared().manager.set_status(SPAM, Status.ACTIVE, ""))
        self.assertEqual(len(self.files(self.compared())), 2)

    def test_records_of_others(self) -> None:
        """A record that is another file's or project's, or that lacks what every file has, lists
        nothing.
        """
        file = self.have(records.read_record(self.store, SPAM, WHEEL))
        assert file is not None
        changes: tuple[dict[str, object], ...] = (
            {"project": "eggs"},
            {"filename": SDIST},
            {"key": None},
            {"sha256": None},
            {"size": None},
            {"uploaded": None},
            {"size": 3},
            {"key": "spam/elsewhere"},
            {"key": "../../etc/passwd"},
        )
        for change in changes:
            self.put(RECORD, dump_record(replace(file, **change)))
            self.assertEqual([file.filename for file in self.project().files], [SDIST], change)
            self.assertIsNone(self.read().mark, change)

    def test_huge_documents(self) -> None:
        """A document of any size costs no more than its limit, and hides only what it says."""
        self.put(RECORD, b" " * (records.LARGEST_DOCUMENT + 1))
        self.assertEqual([file.filename for file in self.project().files], [SDIST])
        self.refused(records.read_bytes(self.store, RECORD, 100), Unreadable)


class FailingDiskTests(IndexCase):
    """A disk that fails while a document is read."""

    def test_unreadable_is_not_absent(self) -> None:
        """A document that the disk does not give is no absence: the storage is down; one that got
        shorter is damaged.
        """

        class Failing(Watched):
            error: Exception = OSError("the disk reports errors")

            async def read(self, key: str, span: object = None) -> Fed:  # type: ignore[override]
                return Fed(b"{", self.error)

        failing = Failing(self.store)
        self.refused(records.read_bytes(failing, RECORD), StorageDown)
        failing.error = EOFError("shorter")
        self.refused(records.read_bytes(failing, RECORD), Unreadable)
