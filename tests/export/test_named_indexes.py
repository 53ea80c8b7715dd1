"""Exports of named indexes, against what the indexes serve."""

from __future__ import annotations

from pathlib import Path

from attrs import evolve

from pypid.core.errors import BadRequest
from pypid.core.export_request import ExportedIndex
from pypid.core.permissions import Identity
from pypid.export.exporter import export
from pypid.export.source import Authority, ExportViewer
from pypid.export.targets import FolderPlace
from pypid.export.tree import ExportOptions
from pypid.web.app.app import IndexApps
from pypid.wiring.exports import authority_of
from tests.distributions import wheel, wheel_filename
from tests.export.trees import IDENTITY, files_in, linked_in, names_in, page_in
from tests.web.api.test_indexes import IndexesCase
from tests.web.full_app import PASSWORDS, J

COPIES = ExportOptions(copies=True)


class IndexTreeCase(IndexesCase):
    """A pypid with an index `secret` that alice alone may read, and one above it and the default
    index.
    """

    def setUp(self) -> None:
        super().setUp()
        self.have_index("secret", bases="none", read="alice", write="alice")
        self.have_index("team", bases="secret default", write="alice")
        self.have_index("merging", bases="secret default", write="alice", merge="*")
        for index, name, version in (
            ("secret", "hush", "1.0"),
            ("secret", "spam", "7.0"),
            ("team", "eggs", "2.0"),
            ("merging", "spam", "3.0"),
        ):
            self.put(index, name, version)
        for name in ("eggs", "ham", "spam"):
            self.have_wheel(name, "1.0")
        self.folder = Path(self.mktemp()).absolute()
        self.apps = IndexApps(self.pypid.app)

    def put(self, index: str, name: str, version: str) -> None:
        """Publish a wheel in the index."""
        target = f"/{index}/legacy/"
        data = wheel(name, version)
        sent = self.publish(wheel_filename(name, version), data, target=target, user="alice")
        self.published(sent)

    def authority(self, index: str) -> Authority:
        """Return the authority of the index, as the wiring makes it; ada is an administrator."""

        async def find(user: str) -> Identity | None:
            return Identity(user, admin=user == "ada") if user in PASSWORDS else None

        app = self.apps.of(index)
        assert app is not None
        return evolve(authority_of(app), find=find)

    def export(
        self, index: str, user: str | None = None, folder: Path | None = None
    ) -> ExportedIndex:
        """Export the index, as the user sees it."""
        app = self.apps.of(index)
        assert app is not None
        place = FolderPlace(str(folder or self.folder), self.pypid.world)
        options = evolve(COPIES, user=user)
        identity = f"{IDENTITY}/{index}" if index else IDENTITY
        viewer = ExportViewer(app.index, self.authority(index), user, options.stored_only)
        try:
            return self.have(export(viewer, place, options, identity, clears=True))
        finally:
            self.have(place.close())

    def check(self, index: str, user: str | None, folder: Path | None = None) -> None:
        """The tree has the projects of the list, and each page has the files of the index's page,
        with their bytes.
        """
        folder = folder or self.folder
        served = self.pypid.get(f"/{index}/simple/", J, user=user).json["projects"]
        self.assertEqual(names_in(folder), [project["name"] for project in served])
        for name in names_in(folder):
            page = self.pypid.get(f"/{index}/simple/{name}/", J, user=user).json
            exported = page_in(folder, name)
            self.assertEqual(
                [(file["filename"], file["hashes"]) for file in exported["files"]],
                [(file["filename"], file["hashes"]) for file in page["files"]],
            )
            self.assertEqual(len(linked_in(folder, name)), len(page["files"]))


class IndexTreeTests(IndexTreeCase):
    def test_equal_to_its_pages(self) -> None:
        """For anonymous clients and for each user; the tree has nothing else."""
        for index in ("team", "merging", "secret"):
            for user in (None, "alice", "bob", "ada"):
                folder = self.folder / f"{index}-{user}"
                if index == "secret" and user in (None, "bob"):
                    self.export(index, user, folder)
                    self.assertEqual(names_in(folder), [])
                else:
                    self.export(index, user, folder)
                    self.check(index, user, folder)

    def test_private_projects_of_bases(self) -> None:
        """No byte of the tree names what the user may not read in the base that has it."""
        for index in ("team", "merging"):
            folder = self.folder / index
            self.export(index, "bob", folder)
            for path, data in files_in(folder).items():
                self.assertNotIn("hush", path)
                self.assertNotIn(b"hush", data)
                self.assertNotIn("7.0", path)
                self.assertNotIn(b"spam-7.0", data)
        self.assertEqual(names_in(self.folder / "team"), ["eggs", "ham"])

    def test_changes_of_bases(self) -> None:
        """A later export follows changes in the index, in its bases, and of its settings."""
        self.export("team", "alice")
        self.put("secret", "hush", "2.0")
        self.have_wheel("ham", "2.0")
        self.export("team", "alice")
        self.check("team", "alice")
        self.assertEqual(len(page_in(self.folder, "hush")["files"]), 2)
        self.put("team", "ham", "9.0")
        self.export("team", "alice")
        self.assertEqual(
            [file["filename"] for file in page_in(self.folder, "ham")["files"]],
            [wheel_filename("ham", "9.0")],
        )
        answer = self.pypid.api("PATCH", "/api/indexes/team", {"values": {"deny": "hush"}})
        self.assertEqual(answer.status, 200, answer)
        self.export("team", "alice")
        self.check("team", "alice")
        self.assertNotIn("hush", names_in(self.folder))
        self.assertFalse([path for path in files_in(self.folder) if "hush" in path])

    def test_another_index(self) -> None:
        """A folder with the export of one index takes no other one."""
        self.export("team")
        with self.assertRaises(AssertionError) as caught:
            self.export("merging")
        self.assertIn(BadRequest.__name__, str(caught.exception))
