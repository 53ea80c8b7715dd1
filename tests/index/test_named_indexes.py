"""Named indexes: what each of them shows, what it stores where, and what no upstream hears."""

from __future__ import annotations

import contextlib
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, cast

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.memory import MemoryBlobs
from pypid.blobs.signed_urls import Links
from pypid.catalog.shared import SharedCatalog
from pypid.core.errors import (
    Forbidden,
    IndexInUse,
    NameUsedUpstream,
    NoSuchFile,
    NoSuchIndex,
    NoSuchProject,
)
from pypid.core.indexes import IndexDocument, IndexSettings, settings_of_values
from pypid.core.model import LocalProject, SignedUrl
from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.permissions import NOBODY
from pypid.core.records.documents import dump
from pypid.flow import BytesBody
from pypid.index.stored_view import Validity, is_valid, validity_of
from pypid.index.views import DIRECT, UpstreamPermission
from tests.distributions import wheel
from tests.index.named import NamedCase, Only, set_index
from tests.index.uploads import fetched, publishing, sent

SPAM = project_name("spam")
WHEEL = "spam-1.0-py3-none-any.whl"


class StoringTests(NamedCase, SynchronousTestCase):
    """Where the files of an index are."""

    def test_before_the_comparison_an_index_is_looked_up_in_the_storage(self) -> None:
        """Unknown is not absent."""
        self.publish(self.create("team"), WHEEL, b"of the team")
        again = self.started(compared=False)
        self.assertEqual(self.files(self.index("team", again), "spam"), {WHEEL: b"of the team"})


class ValidityTests(NamedCase, SynchronousTestCase):
    """How long a recorded response of the default index is valid."""

    only: ClassVar[Only] = {"cu128": ("torch",)}

    def validity(self, name: str) -> Validity | None:
        """Return the validity of the page of a project, which was just made."""
        default = self.index("")
        with contextlib.suppress(AssertionError):
            self.files(default, name)
        return validity_of(default, project_name(name))

    def test_a_private_name_ends_the_validity_of_a_page_with_upstream_files(self) -> None:
        """An administrator has taken the name for an index."""
        glance = cast(SharedCatalog, self.index("").catalog)
        before = self.validity("numpy")
        assert before is not None
        self.assertTrue(is_valid(glance, before))
        self.publish(self.create("team"), "numpy-9.0.tar.gz")
        self.assertFalse(is_valid(glance, before))
        after = self.validity("numpy")
        self.assertFalse(after is not None and after.shows_upstream)


class MaintenanceTests(NamedCase, SynchronousTestCase):
    """Checks and repairs of the whole storage."""

    only: ClassVar[Only] = {"cu128": ("torch",)}

    def test_check_and_rebuild_know_the_files_of_all_indexes(self) -> None:
        """Whole files are no findings; a lost record is one of the index, and a rebuild publishes
        the file there again.
        """
        team, default = self.create("team"), self.index("")
        self.publish(team, WHEEL, wheel())
        self.publish(default, "eggs-1.0.tar.gz")
        self.files(team, "torch")
        self.files(team, "numpy")
        report = self.have(default.maintenance.check(hashes=True, sweep=True))
        self.assertEqual(report.findings, ())
        self.assertEqual((report.files, report.kept), (2, 2))
        record = f".pypid/index/team/spam/{WHEEL}.record.json"
        self.have(self.store.delete(record))
        self.clock.advance(3 * 86400)
        again = self.started()
        default = self.index("", again)
        [finding, *_] = self.have(default.maintenance.check()).findings
        self.assertTrue(finding.key.startswith(".pypid/index/team/spam/"), finding)
        self.assertIn(record.removesuffix(".record.json"), self.keys())
        self.have(default.maintenance.rebuild("admin"))
        self.assertNotIn("spam/", " ".join(key[:5] for key in self.keys()))
        self.assertIn(record, self.keys())

    def test_bytes_of_an_index_that_an_older_version_moved_aside_return(self) -> None:
        """A comparison puts them back, and the file is listed again."""
        self.publish(self.create("team"), WHEEL, b"blocked")
        part, held = f".pypid/index/team/spam/{WHEEL}", ".pypid/index/team/.pypid/held/"
        self.have(self.store.write(f"{held}b1/spam/{WHEEL}", self.have(self.store.read(part))))
        self.have(self.store.delete(part))
        again = self.index("team", self.started())
        self.assertEqual(self.files(again, "spam"), {WHEEL: b"blocked"})
        self.assertEqual(self.keys(held), [])

    def test_files_without_an_index_are_found(self) -> None:
        """The check names the index once, and what deletes the files. Private names without files
        are found, too; neither the files of an index nor the traces of deleted files are.
        """
        for name in ("team", "other"):
            self.publish(self.create(name), WHEEL)
            self.publish(self.index(name), "spam-2.0.tar.gz")
        self.assertEqual(self.have(self.index("").maintenance.check()).findings, ())
        self.have(self.store.delete(".pypid/indexes/team.json"))
        self.have(self.store.write(".pypid/index-names/eggs/gone", BytesBody(b"")))
        indexes = self.started()
        before = self.keys()
        found = self.have(self.index("", indexes).maintenance.check(sweep=True)).findings
        keys = [finding.key for finding in found]
        self.assertEqual(keys, [".pypid/index/gone/", ".pypid/index/team/"])
        self.assertIn("pypid index delete team --force", found[1].advice)
        self.assertEqual(self.keys(), before)
        for name in ("gone", "team"):
            self.have(indexes.delete(name, force=True))
        self.assertEqual(self.have(self.index("", indexes).maintenance.check()).findings, ())
        other = self.index("other", indexes)
        self.have(other.manager.delete(project_name("spam"), [WHEEL, "spam-2.0.tar.gz"], "carol"))
        for key in (".pypid/indexes/other.json", ".pypid/index-names/spam/other"):
            self.have(self.store.delete(key))
        self.assertTrue(self.keys(".pypid/index/other/"))
        self.assertEqual(self.have(self.index("", self.started()).maintenance.check()).findings, ())


class SigningBlobs(MemoryBlobs):
    """A store with signed URLs, which contain the key."""

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        return SignedUrl(f"https://bucket.example/{key}", datetime(2030, 1, 1, tzinfo=UTC))


class LinkTests(NamedCase, SynchronousTestCase):
    """Signed URLs of a bucket."""

    only: ClassVar[Only] = {"cu128": ("torch",)}

    def test_links_lead_to_the_bytes_of_the_index_that_has_them(self) -> None:
        """For own, inherited and cached files of any layer; two files of one name have two URLs."""
        self.store = SigningBlobs(self.world.now)
        self.links = Links(self.store, self.world, timedelta(days=1), timedelta(minutes=5))
        self.indexes = self.started()
        base, team = self.create("base"), self.create("team", bases="base default")
        self.publish(base, WHEEL, b"of the base")
        self.publish(team, "eggs-1.0.tar.gz")
        self.publish(self.index(""), "eggs-1.0.tar.gz")
        self.files(team, "torch")
        for index, name, place in (
            (team, "spam", f".pypid/index/base/spam/{WHEEL}"),
            (base, "spam", f".pypid/index/base/spam/{WHEEL}"),
            (team, "eggs", ".pypid/index/team/eggs/eggs-1.0.tar.gz"),
            (self.index(""), "eggs", "eggs/eggs-1.0.tar.gz"),
            (team, "torch", ".pypid/upstream/cu128/.kept/torch/torch-1.0.tar.gz"),
        ):
            [file] = self.have(index.project(project_name(name))).files
            link = self.have(index.link(file, lambda name: True))
            assert link is not None
            self.assertEqual(link.url, f"https://bucket.example/{place}")


class InheritingTests(NamedCase, SynchronousTestCase):
    """What an index shows of its bases."""

    only: ClassVar[Only] = {"cu128": ("torch", "nvidia-*")}

    def test_a_block_of_the_index_hides_inherited_versions_there(self) -> None:
        """Upstream and local ones, on the page and for downloads; its own files stay."""
        default, team = self.index(""), self.create("team", block="numpy<2 spam>=2", deny="evil")
        self.publish(default, "spam-1.0.tar.gz")
        self.publish(default, "spam-2.0.tar.gz")
        self.assertEqual(self.files(team, "numpy"), {})
        self.refused(team.file(project_name("numpy"), "numpy-1.0.tar.gz"), NoSuchFile)
        self.assertEqual(list(self.files(default, "numpy")), ["numpy-1.0.tar.gz"])
        self.assertEqual(list(self.files(team, "spam")), ["spam-1.0.tar.gz"])
        permission = evolve(DIRECT, before=self.world.now() + timedelta(hours=1))
        self.refused(team.file(SPAM, "spam-2.0.tar.gz", permission), NoSuchFile)
        self.publish(team, "spam-2.0.tar.gz")
        self.assertEqual(list(self.files(team, "spam")), ["spam-2.0.tar.gz"])

    def test_as_of_files_come_from_the_index_that_has_them(self) -> None:
        """A file of the same name in the default index is another one."""
        base, team = self.create("base"), self.create("team", bases="base default")
        default = self.index("")
        self.publish(default, WHEEL, b"of the default index")
        self.publish(base, WHEEL, b"of the base")
        self.clock.advance(3600)
        self.publish(base, "spam-2.0.tar.gz")
        permission = evolve(DIRECT, before=self.world.now())
        for index, data in (
            (team, b"of the base"),
            (base, b"of the base"),
            (default, b"of the default index"),
        ):
            found = self.have(index.history.project(SPAM, permission))
            names = [file.filename for file in found.state.project.files]
            self.assertEqual(names, [WHEEL], index.name)
            file = self.have(index.file(SPAM, WHEEL, permission))
            self.assertEqual(self.have(fetched(index, file)), data)
        self.refused(base.file(SPAM, "spam-2.0.tar.gz", permission), NoSuchFile)

    def test_the_base_public_has_no_local_projects_of_the_default_index(self) -> None:
        """And their names are not asked upstream either."""
        public = self.create("team", bases="public")
        self.publish(self.index(""), WHEEL)
        self.refused(public.project(SPAM), NoSuchProject)
        self.assertEqual(self.told(), [])

    def test_mixed_files_of_a_base_that_one_may_not_read_stay_hidden(self) -> None:
        """The rights of a base also count where its page adds the files of its own bases."""
        low = self.create("low", bases="none")
        base = self.create("base", bases="low", allow_mixed="spam")
        team = self.create("team", bases="base")
        self.publish(low, "spam-2.0-py3-none-any.whl")
        self.publish(base, WHEEL, b"secret")

        def may_read(index: str, name: ProjectName) -> None:
            if index == "base":
                raise Forbidden("bob", "read", name)

        permission = UpstreamPermission(may_read=may_read)
        self.assertEqual(len(self.have(team.project(SPAM)).files), 2)
        above = self.create("above", bases="team")
        for index in (team, above):
            self.refused(index.project(SPAM, permission), NoSuchProject)
            self.refused(index.file(SPAM, WHEEL, permission), NoSuchFile)

    def test_merged_files_of_a_base_that_one_may_not_read_stay_hidden(self) -> None:
        """The files of the other bases are shown. If there are none, there is no project, whatever
        the upstream has.
        """
        low, base = self.create("low", bases="none"), self.create("base", bases="none")
        team = self.create("team", bases="low base public", merge="*", allow_mixed="spam")
        self.publish(base, WHEEL, b"secret")

        def may_read(index: str, name: ProjectName) -> None:
            if index == "base":
                raise Forbidden("bob", "read", name)

        permission = UpstreamPermission(may_read=may_read)
        above = self.create("above", bases="team", merge="*")
        for index in (team, above):
            self.refused(index.project(SPAM, permission), NoSuchProject)
        self.publish(low, "spam-2.0.tar.gz", b"low")
        for index in (team, above):
            project = self.have(index.project(SPAM, permission))
            self.assertEqual([file.filename for file in project.files], ["spam-2.0.tar.gz"])
            self.refused(index.file(SPAM, WHEEL, permission), NoSuchFile)
            self.assertEqual(len(self.have(index.project(SPAM)).files), 2)


class PrivateNameTests(NamedCase, SynchronousTestCase):
    """No upstream hears a name that is local in any index."""

    only: ClassVar[Only] = {"cu128": ("torch", "spam")}

    def test_private_names_stay_private_over_a_restart(self) -> None:
        """Before the comparison with the storage, and where the configuration no longer has the
        index.
        """
        self.publish(self.create("team"), WHEEL)
        for compared in (False, True):
            indexes = self.started(compared=compared)
            self.refused(self.index("", indexes).project(SPAM), NoSuchProject)
        self.have(self.store.delete(".pypid/indexes/team.json"))
        indexes = self.started()
        self.assertIsNone(indexes.get("team"))
        self.refused(self.index("", indexes).project(SPAM), NoSuchProject)
        self.assertEqual(self.told(), [])

    def test_a_released_name_may_go_upstream_again(self) -> None:
        """After all files are deleted, and the name is released."""
        team = self.create("team")
        self.publish(team, WHEEL)
        self.have(team.manager.delete_project(SPAM, "alice"))
        self.refused(self.index("").project(SPAM), NoSuchProject)
        self.have(team.manager.release_name(SPAM))
        self.assertEqual(self.keys(".pypid/index-names/"), [])
        self.have(self.index("").project(SPAM))
        self.assertEqual(self.told(), ["spam"])


class TakingTests(NamedCase, SynchronousTestCase):
    """Names that are used from upstream, and then published."""

    only: ClassVar[Only] = {"cu128": ("torch",)}

    def test_a_name_that_is_used_from_upstream_is_not_taken(self) -> None:
        """Of the public index and of a named upstream, by a listing or by cached files."""
        team, default = self.create("team"), self.index("")
        self.files(default, "numpy")
        self.files(default, "torch")
        for name in ("numpy", "torch"):
            self.refused(team.refuse_used_upstream(project_name(name)), NameUsedUpstream)
            self.refused(default.refuse_used_upstream(project_name(name)), NameUsedUpstream)


class ChangingTests(NamedCase, SynchronousTestCase):
    """Creating, changing and deleting indexes."""

    def test_an_index_with_files_is_deleted_only_if_forced(self) -> None:
        """Then all that it stored is gone, and its names are no longer private."""
        team = self.create("team")
        self.publish(team, WHEEL)
        error = self.refused(self.indexes.delete("team"), IndexInUse)
        self.assertIn("--force", str(error))
        self.assertEqual(list(self.files(team, "spam")), [WHEEL])
        removed = self.have(self.indexes.delete("team", force=True))
        self.assertEqual(removed, 3)
        self.assertEqual(self.keys(".pypid/index"), [])
        self.assertIsNone(self.indexes.get("team"))
        self.have(self.index("").project(SPAM))
        self.assertEqual(self.told(), ["spam"])
        again = self.create("team", bases="none")
        self.refused(again.project(SPAM), NoSuchProject)

    def test_a_file_that_is_published_during_a_deletion_stays(self) -> None:
        """The deletion is refused then, unless it is forced."""
        team = self.create("team")
        folder = self.indexes._folder
        assert folder is not None
        delete = type(folder).delete

        async def published_meanwhile(its_folder: Any, name: str) -> None:
            await publishing(team, sent(b"bytes", WHEEL))
            await delete(its_folder, name)

        self.patch(type(folder), "delete", published_meanwhile)
        self.refused(self.indexes.delete("team"), IndexInUse)
        self.assertEqual(list(self.files(self.index("team"), "spam")), [WHEEL])
        self.assertEqual(list(self.files(self.index("team", self.started()), "spam")), [WHEEL])

    def test_what_is_stored_elsewhere_for_an_index_is_removed_with_it(self) -> None:
        """And again before an index of that name is created: the removal may have failed."""
        cleaned: list[str] = []

        async def clean(name: str) -> None:
            cleaned.append(name)

        self.indexes.clean = clean
        self.create("team")
        self.assertEqual(cleaned, ["team"])
        self.have(self.indexes.delete("team"))
        self.assertEqual(cleaned, ["team", "team"])

    def test_private_names_are_not_released_by_the_creation_of_an_index(self) -> None:
        """Another node may have created the index, and a file is published to it now."""
        self.have(self.indexes.names.mark(SPAM, "team"))
        creating = self.indexes.create(IndexSettings(name="team"))
        self.assertIn("delete team --force", str(self.refused(creating, IndexInUse)))
        self.assertEqual(self.have(self.indexes.names.names()), {SPAM})
        self.have(self.indexes.delete("team", force=True))
        self.create("team")
        self.assertEqual(self.have(self.indexes.names.names()), set())

    def with_listed_remnant(self) -> None:
        """Delete an index of which the catalog still lists a project: as after a crash before the
        next dump, or if another node listed a file late.
        """
        team = self.create("team")
        self.publish(team, WHEEL)
        listed = self.have(team.catalog.local.get(SPAM))
        self.have(self.indexes.delete("team", force=True))
        self.have(team.catalog.local.edit(SPAM, lambda _: cast(LocalProject, listed)))
        self.assertEqual(self.have(self.indexes.names.names()), {SPAM})

    def test_a_comparison_removes_projects_of_a_deleted_index(self) -> None:
        """Otherwise their names stay private for ever."""
        self.with_listed_remnant()
        self.have(self.indexes.default.maintenance.reconcile())
        self.assertEqual(self.have(self.indexes.names.names()), frozenset())
        self.have(self.indexes.default.project(SPAM))
        self.assertEqual(self.told(), ["spam"])

    def test_a_new_index_lists_nothing_of_a_former_one(self) -> None:
        """With the same name."""
        self.with_listed_remnant()
        team = self.create("team", bases="")
        self.assertEqual(self.have(team.catalog.local.summaries()), [])
        self.refused(team.project(SPAM), NoSuchProject)

    def test_a_deletion_that_broke_off_is_finished(self) -> None:
        """An index of that name is not created before: it would show files of the former one."""
        self.publish(self.create("team"), WHEEL)
        self.have(self.store.delete(".pypid/indexes/team.json"))
        self.indexes = self.started()
        self.refused(self.indexes.create(settings_of_values("team", {})), IndexInUse)
        self.refused(self.indexes.delete("team"), NoSuchIndex)
        self.refused(self.index("").project(SPAM), NoSuchProject)
        self.have(self.indexes.delete("team", force=True))
        self.assertEqual(self.keys(".pypid/index"), [])
        self.refused(self.indexes.delete("team", force=True), NoSuchIndex)
        self.create("team")

    def test_an_index_whose_document_cannot_be_read_is_closed(self) -> None:
        """A damaged document, one of a later version, one of another index, and one that could not
        be read before either; an administrator sets the index again.
        """
        for data in (
            b"{",
            dump(IndexDocument(name="team", values={"wall": "yes"})),
            dump(IndexDocument(name="other")),
        ):
            self.create("team", bases="default")
            self.have(self.store.write(".pypid/indexes/team.json", BytesBody(data), replace=True))
            for name in ("simple", "default"):
                key = f".pypid/indexes/{name}.json"
                self.have(self.store.write(key, BytesBody(data), replace=True))
            indexes = self.started()
            self.assertEqual(list(indexes.settings), ["team"])
            settings = indexes.settings["team"]
            self.assertEqual((settings.bases, settings.read), ((), NOBODY))
            self.refused(self.index("team", indexes).project(project_name("numpy")), NoSuchProject)
            self.have(set_index(indexes, settings_of_values("team", {})))
            self.assertEqual(indexes.settings["team"].bases, ("default",))
            self.have(indexes.delete("team"))
            self.indexes = self.started()
