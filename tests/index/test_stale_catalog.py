"""Starts with a catalog that is older than what was acknowledged before a crash."""

from __future__ import annotations

from typing import Any

from attrs import evolve

from pypid.core.errors import (
    ListIncomplete,
    NameUsedUp,
    NoSuchProject,
    StorageDown,
    UploadForbidden,
)
from pypid.core.model import Status
from pypid.core.packaging.names import project_name
from pypid.core.policy import Policy
from pypid.flow import start
from pypid.index import Index
from pypid.upstream.nothing import Nothing
from tests.index.faulty_blobs import Gated, Storm, Watched
from tests.index.uploads import SPAM, WHEEL, IndexCase, an_index, publishing, sent
from tests.support import world
from tests.support.engines import a_catalog, rows_of

SDIST = "spam-1.1.tar.gz"


class StaleCatalogCase(IndexCase):
    """A project with a file, and the rows of it before the test changes it."""

    has_lease: bool | None = None
    """Whether the process has the bucket's lease; None for a storage without leases."""

    def setUp(self) -> None:
        super().setUp()
        self.publish(sent())
        self.have(self.index.maintenance.reconcile())
        self.rows = rows_of(self.index.catalog)

    def crashed(self, blobs: Any = None, *, complete: bool = False) -> Index:
        """A process that starts now, with the rows; `complete`: it trusts them."""
        has_lease = self.has_lease
        is_sole = None if has_lease is None else lambda: has_lease
        return an_index(
            blobs or self.store,
            a_catalog(place=evolve(self.rows, state=evolve(self.rows.state, complete=complete))),
            Nothing(),
            Policy(),
            world(self.clock),
            lease=is_sole,
        )


class StaleCatalogTests(StaleCatalogCase):
    """No answer, and no change, is made from an entry that the storage contradicts."""

    def test_quarantined_project_stays_hidden_after_a_crash(self) -> None:
        """The first page after the start has the status that was acknowledged."""
        self.have(self.index.manager.set_status(SPAM, Status.QUARANTINED, "malware"))
        project = self.have(self.crashed().project(SPAM))
        self.assertEqual(
            (project.status, project.status_reason, project.files),
            (Status.QUARANTINED, "malware", ()),
        )

    def test_yanked_and_deleted_files_stay_so_after_a_crash(self) -> None:
        """So are yanks, deletions and uploads."""
        self.have(self.index.manager.yank(SPAM, [WHEEL], "broken"))
        self.assertEqual(
            [file.yanked for file in self.have(self.crashed().project(SPAM)).files], ["broken"]
        )
        self.publish(sent(b"new", SDIST))
        self.assertEqual(
            {file.filename for file in self.have(self.crashed().project(SPAM)).files},
            {WHEEL, SDIST},
        )
        self.have(self.index.manager.delete(SPAM, [WHEEL], "carol"))
        self.assertEqual(
            {file.filename for file in self.have(self.crashed().project(SPAM)).files}, {SDIST}
        )

    def test_released_name_is_not_found_after_a_crash(self) -> None:
        """A name that was given back is no project of this index any more."""
        self.have(self.index.manager.delete_project(SPAM, "carol"))
        self.have(self.index.manager.release_name(SPAM))
        self.refused(self.crashed().project(SPAM), NoSuchProject)

    def test_uploads_obey_what_was_acknowledged_before_a_crash(self) -> None:
        """An archived project takes no upload, and a deleted name no other bytes, as the first
        request after the start.
        """
        self.have(self.index.manager.delete(SPAM, [WHEEL], "carol"))
        self.refused(publishing(self.crashed(), sent(b"other")), NameUsedUp)
        self.have(self.index.manager.set_status(SPAM, Status.ARCHIVED, ""))
        self.refused(publishing(self.crashed(), sent(b"new", SDIST)), UploadForbidden)

    def test_changes_keep_what_was_acknowledged_before_a_crash(self) -> None:
        """A change as the first request after the start is made to the present project, not to that
        of the rows.
        """
        self.publish(sent(b"new", SDIST))
        index = self.crashed()
        self.have(index.manager.yank(SPAM, [WHEEL], "broken"))
        self.have(index.catalog.complete())
        files = {file.filename: file.yanked for file in self.have(index.project(SPAM)).files}
        self.assertEqual(files, {WHEEL: "broken", SDIST: None})

    def test_unchanged_entry_costs_one_listing(self) -> None:
        """An entry is compared by one listing, once for all clients that ask, and never again."""
        gated = Gated(self.store)
        index = self.crashed(gated)
        asked = [start(index.project(SPAM)) for _ in range(20)]
        gated.all()
        for each in asked:
            self.assertEqual(len(self.successResultOf(each).files), 1)
        self.have(index.project(SPAM))
        self.assertEqual(gated.asked, ["list spam/"])

    def test_nothing_is_served_from_old_rows_while_the_storage_is_away(self) -> None:
        """Where an entry cannot be compared, it is not served, and not changed."""
        index = self.crashed(Storm(self.store, 1, lambda: StorageDown("away."), for_good=True))
        self.refused(index.project(SPAM), StorageDown)
        self.refused(index.file(SPAM, WHEEL), StorageDown)
        self.refused(publishing(index, sent(b"new", SDIST)), StorageDown)
        self.refused(index.manager.set_status(SPAM, Status.ACTIVE, ""), StorageDown)

    def test_no_list_is_made_of_a_part_of_the_projects(self) -> None:
        """Lists wait for the comparison, also where all that the rows hold was looked up."""
        self.publish(sent(b"eggs", "eggs-1.0.tar.gz"))
        index = self.crashed()
        self.have(index.project(SPAM))
        self.refused(index.names(), ListIncomplete)
        self.refused(index.stored_names(), ListIncomplete)
        self.have(index.maintenance.reconcile())
        self.assertEqual(
            [summary.name for summary in self.have(index.stored_names())], ["eggs", "spam"]
        )

    def test_exact_rows_are_served_at_once(self) -> None:
        """After a clean stop entries and lists need no look at the storage, and absences neither."""
        watched = Watched(self.store)
        index = self.crashed(watched, complete=True)
        self.assertEqual(len(self.have(index.project(SPAM)).files), 1)
        self.assertEqual([summary.name for summary in self.have(index.stored_names())], ["spam"])
        self.assertEqual(watched.asked, [])
        self.refused(index.project(project_name("eggs")), NoSuchProject)
        self.assertEqual(watched.asked, [])

    def test_change_that_broke_off_makes_no_clean_stop(self) -> None:
        """Where the storage failed in a change, and could not be read after it, the next start
        compares.
        """
        storm = Storm(self.store, 3, lambda: StorageDown("away."), late=True, for_good=True)
        self.assertFalse(self.crashed().maintenance.is_up_to_date)
        index = self.crashed(storm, complete=True)
        self.assertTrue(index.maintenance.is_up_to_date)
        self.refused(index.manager.yank(SPAM, [WHEEL], "broken"), StorageDown)
        self.assertFalse(index.maintenance.is_up_to_date)


class StaleCatalogOfABucketTests(StaleCatalogTests):
    """The same for a bucket: its lease says who may write, and nothing of the age of rows."""

    has_lease = True


class StaleCatalogWithoutLeaseTests(StaleCatalogTests):
    """A second process on the bucket, which may only read."""

    has_lease = False
