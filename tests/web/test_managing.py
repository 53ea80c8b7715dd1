"""Managing what is published over HTTP: yank, status, delete, names, rebuild."""

from __future__ import annotations

from pathlib import Path

from pypid.core.errors import StorageDown
from pypid.flow import BytesBody
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import J, Pypid, WholeCase


class ManagingCase(WholeCase):
    """A project with three files of two releases."""

    def setUp(self) -> None:
        """Publish them."""
        super().setUp()
        self.wheel, self.data = self.have_wheel("spam", "1.0", requires_python=">=3.8")
        self.sdist, _ = self.have_sdist("spam", "1.0")
        self.newer, _ = self.have_wheel("spam", "2.0")

    def listed(self) -> set[str]:
        """The names of the files on the page."""
        return {file["filename"] for file in self.pypid.page("spam")["files"]}


class StatusTests(ManagingCase):
    """PEP 792."""

    def test_refused(self) -> None:
        """Another word is 400 and names what is allowed; a project that is not there is 404."""
        for document in (
            {"status": "frozen"},
            {},
            {"status": None},
            {"status": "active", "x": 1},
            [],
        ):
            self.assertEqual(
                self.pypid.api("PUT", "/api/projects/spam/status", document).status, 400, document
            )
        self.assertEqual(
            self.pypid.api("PUT", "/api/projects/nothing/status", {"status": "active"}).status, 404
        )
        self.assertEqual(self.pypid.page("spam")["project-status"], {"status": "active"})

    def test_managed_while_quarantined(self) -> None:
        """What a quarantine hides can still be yanked and deleted."""
        self.pypid.api("PUT", "/api/projects/spam/status", {"status": "quarantined"})
        self.assertEqual(
            self.pypid.api("PUT", f"/api/projects/spam/files/{self.wheel}/yank").status, 200
        )
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam/releases/2.0").status, 200)
        self.pypid.api("PUT", "/api/projects/spam/status", {"status": "active"})
        self.assertEqual(self.listed(), {self.wheel, self.sdist})


class DeleteTests(ManagingCase):
    """Files go, their names stay used, and the project stays ours."""

    def test_file(self) -> None:
        """A deleted file is on no page and cannot be had; the others can."""
        answer = self.pypid.api("DELETE", f"/api/projects/spam/files/{self.wheel}")
        self.assertEqual((answer.status, answer.json["changed"]), (200, [self.wheel]))
        self.assertEqual(self.listed(), {self.sdist, self.newer})
        for suffix in ("", ".metadata"):
            self.assertEqual(self.pypid.get(f"/packages/spam/{self.wheel}{suffix}").status, 404)
        left = [f"spam/{self.wheel}.{what}.json" for what in ("deleted", "history")]
        self.assertEqual([key for key in self.keys() if self.wheel in key], left)
        self.assertEqual(
            self.pypid.api("DELETE", f"/api/projects/spam/files/{self.wheel}").status, 404
        )

    def test_name_is_used_up(self) -> None:
        """Other bytes cannot take a deleted file's name, also where overwriting would be refused;
        the same bytes may return.
        """
        self.pypid.api("DELETE", f"/api/projects/spam/files/{self.wheel}")
        other = wheel("spam", "1.0", files={"evil.py": b""})
        for user in ("alice", "ada"):
            self.refused(
                self.publish(self.wheel, other, user=user), 400, "deleted", "Raise the version"
            )
        self.assertEqual(self.listed(), {self.sdist, self.newer})
        self.published(self.publish(self.wheel, self.data))
        self.assertEqual(self.pypid.get(f"/packages/spam/{self.wheel}").body, self.data)

    def test_used_up_after_the_return(self) -> None:
        """A name that came back and was deleted again is still used up."""
        for _ in range(2):
            self.pypid.api("DELETE", f"/api/projects/spam/files/{self.wheel}")
            self.refused(
                self.publish(self.wheel, wheel("spam", "1.0", files={"evil.py": b""})),
                400,
                "deleted",
            )
            self.published(self.publish(self.wheel, self.data))

    def test_project(self) -> None:
        """A deleted project stays ours and empty, on the list, with nothing to install."""
        answer = self.pypid.api("DELETE", "/api/projects/spam")
        self.assertEqual(answer.json["changed"], sorted([self.wheel, self.sdist, self.newer]))
        page = self.pypid.page("spam")
        self.assertEqual((page["files"], page["versions"]), ([], []))
        self.assertEqual(self.pypid.names(), ["spam"])
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam").json["changed"], [])
        self.refused(
            self.publish(self.wheel, wheel("spam", "1.0", files={"evil.py": b""})), 400, "deleted"
        )
        self.published(self.publish(wheel_filename("spam", "3.0"), wheel("spam", "3.0")))

    def test_project_stays_ours_after_a_restart(self) -> None:
        """So it does for an index that reads the storage anew."""
        self.pypid.api("DELETE", "/api/projects/spam")
        again = Pypid(self.spool, blobs=self.pypid.blobs)
        self.assertEqual(again.page("spam")["files"], [])
        self.have(again.index.maintenance.reconcile())
        self.assertEqual(again.names(), ["spam"])

    def test_failure_in_the_middle(self) -> None:
        """A storage that fails during a delete gives 503; the page names only what can be had, and
        a retry finishes.
        """
        doomed = f"spam/{self.sdist}.deleted.json"
        self.pypid.blobs.failing = lambda key: (
            StorageDown("the disk is not there.") if key == doomed else None
        )
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam").status, 503)
        self.pypid.blobs.failing = lambda key: None
        for filename in self.listed():
            self.assertIn(self.pypid.get(f"/packages/spam/{filename}").status, (200, 404), filename)
        self.assertEqual(self.pypid.api("POST", "/api/rebuild/spam").status, 200)
        for filename in self.listed():
            self.assertEqual(self.pypid.get(f"/packages/spam/{filename}").status, 200, filename)
        self.assertEqual(self.pypid.api("DELETE", "/api/projects/spam").status, 200)
        self.assertEqual(self.listed(), set())


class NameTests(ManagingCase):
    """Giving a name back."""

    def test_release(self) -> None:
        """An empty project's name is given back: the project is gone, tombstones and all, and may
        come again.
        """
        self.pypid.api("DELETE", "/api/projects/spam")
        answer = self.pypid.api("DELETE", "/api/names/Spam")
        self.assertEqual((answer.status, answer.json), (200, {"name": "spam", "released": True}))
        self.assertEqual(
            (self.pypid.get("/simple/spam/", J).status, self.pypid.names(), self.keys()),
            (404, [], []),
        )
        self.assertEqual(self.pypid.api("DELETE", "/api/names/spam").status, 404)
        self.published(self.publish(self.wheel, wheel("spam", "1.0", files={"other.py": b""})))

    def test_not_while_it_has_files(self) -> None:
        """The name of a project with files is kept: 400 says what to do first."""
        self.refused(self.pypid.api("DELETE", "/api/names/spam"), 400, "delete it first")
        self.assertEqual(len(self.listed()), 3)


class RebuildTests(ManagingCase):
    """Comparing with the storage."""

    def drop(self, key: str, data: bytes) -> None:
        """Somebody puts a file into the storage."""
        self.have(self.pypid.blobs.write(key, BytesBody(data)))

    def test_everything(self) -> None:
        """Files that lie in the storage without a record are taken in; what cannot be is told with
        its reason.
        """
        self.drop("eggs/eggs-1.0-py3-none-any.whl", wheel("eggs", "1.0"))
        self.drop("eggs-2.0-py3-none-any.whl", wheel("eggs", "2.0"))
        self.drop("eggs/eggs-3.0-py3-none-any.whl", b"no zip")
        answer = self.pypid.api("POST", "/api/rebuild")
        self.assertEqual(answer.status, 200)
        outcomes = {line["key"]: line["outcome"] for line in answer.json["adopted"]}
        self.assertEqual(outcomes["eggs/eggs-1.0-py3-none-any.whl"], "adopted")
        self.assertEqual(outcomes["eggs-2.0-py3-none-any.whl"], "adopted")
        refused = [line for line in answer.json["adopted"] if line["outcome"] == "refused"]
        self.assertEqual([line["key"] for line in refused], ["eggs/eggs-3.0-py3-none-any.whl"])
        self.assertTrue(refused[0]["problems"])
        self.assertEqual(self.pypid.page("eggs")["versions"], ["1.0", "2.0"])
        for file in self.pypid.page("eggs")["files"]:
            self.assertEqual(self.pypid.get(f"/packages/eggs/{file['filename']}").status, 200)

    def test_adopt_needs_a_folder(self) -> None:
        """Adopting is for a storage that is a folder, and for folders inside it; 400 says so."""
        self.refused(self.pypid.api("POST", "/api/adopt", {"folder": "/etc"}), 400, "folder")
        self.assertEqual(self.pypid.api("POST", "/api/adopt", {}).status, 400)
        with_folder = Pypid(self.spool, storage_folder=Path("/srv/storage"))
        self.refused(
            with_folder.api("POST", "/api/adopt", {"folder": "/etc"}),
            400,
            "/srv/storage",
            "rebuild",
        )
        self.refused(
            with_folder.api("POST", "/api/adopt", {"folder": "/srv/storage/../../etc"}), 400
        )
        self.assertEqual(
            with_folder.api("POST", "/api/adopt", {"folder": "/srv/storage/"}).status, 200
        )
        self.assertEqual(with_folder.api("POST", "/api/adopt", {"folder": "a\0b"}).status, 400)
