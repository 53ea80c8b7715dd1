"""Importing a file of another index: its time, uploader and yank; odd files; never a replacement."""

from __future__ import annotations

from hashlib import md5, sha256

from tests.distributions import metadata, sdist_filename, wheel, wheel_filename
from tests.web.full_app import Answer, WholeCase, content, text

FILE, DATA = wheel_filename(), wheel(requires_python=">=3.8")
SHA256 = sha256(DATA).hexdigest()
THEN = "2019-03-04T05:06:07+00:00"


class ImportTests(WholeCase):
    """Imports by an administrator."""

    def imported(
        self, filename: str = FILE, data: bytes = DATA, user: str | None = "ada", **fields: str
    ) -> Answer:
        """The answer to an import with these fields."""
        parts = [*(text(name, value) for name, value in fields.items()), content(filename, data)]
        return self.send_form(parts, target="/api/import", user=user)

    def test_time_and_uploader_are_those_of_the_other_index(self) -> None:
        """They are on the page and in the record; the metadata is read from the file."""
        answer = self.imported(sha256_digest=SHA256, uploaded=THEN, uploader="bob", name="spam")
        self.assertEqual(
            answer.json,
            {"project": "spam", "filename": FILE, "outcome": "published", "problems": []},
        )
        file = self.pypid.file_on("spam", FILE)
        self.assertEqual(file["upload-time"], "2019-03-04T05:06:07Z")
        self.assertEqual(file["requires-python"], ">=3.8")
        self.assertTrue(file["core-metadata"])
        found = self.have(self.pypid.index.file("spam", FILE))  # type: ignore[arg-type]
        self.assertEqual(found.uploader, "bob")
        self.assertEqual(self.pypid.get(f"/packages/spam/{FILE}").body, DATA)

    def test_second_import_changes_nothing(self) -> None:
        """The same bytes are unchanged, whatever the fields; other bytes are refused."""
        self.published(self.imported(uploaded=THEN))
        again = self.imported(uploaded="2024-01-01T00:00:00Z", uploader="bob")
        self.assertEqual(again.json["outcome"], "unchanged")
        other = wheel(files={"spam.py": b"eggs = 2\n"})
        self.refused(self.imported(data=other), 400, "already exists")
        self.assertEqual(self.pypid.file_on("spam", FILE)["upload-time"], "2019-03-04T05:06:07Z")
        self.assertEqual(self.pypid.get(f"/packages/spam/{FILE}").body, DATA)

    def test_deleted_file_does_not_come_back_with_other_bytes(self) -> None:
        """The tombstone holds for imports, too."""
        self.published(self.imported())
        self.pypid.api("DELETE", f"/api/projects/spam/files/{FILE}")
        other = wheel(files={"spam.py": b"eggs = 2\n"})
        self.refused(self.imported(data=other), 400, "deleted")

    def test_yank(self) -> None:
        """The reason is kept, and may be empty."""
        self.published(self.imported(yanked="broken"))
        self.published(self.imported(yanked="another"))
        self.assertEqual(self.pypid.file_on("spam", FILE)["yanked"], "broken")
        name = wheel_filename("eggs")
        self.published(self.imported(name, wheel("eggs"), yanked=""))
        self.assertTrue(self.pypid.file_on("eggs", name)["yanked"])

    def test_damaged_file(self) -> None:
        """Other bytes than the hash names are not stored."""
        for fields in ({"sha256_digest": "0" * 64}, {"md5_digest": "0" * 32}):
            self.refused(self.imported(**fields), 400, "digest")
        self.published(self.imported(md5_digest=md5(DATA).hexdigest()))

    def test_refused_files(self) -> None:
        """What no installer could use: other names, no file, an empty file."""
        self.refused(self.imported(name="eggs"), 400, "eggs")
        self.refused(self.imported("../spam.txt"), 400)
        self.refused(self.imported(sdist_filename(), b""), 400, "empty")
        self.refused(self.imported(uploaded="yesterday"), 400, "uploaded")
        self.refused(self.imported(uploaded="2019-03-04T05:06:07"), 400, "uploaded")
        self.refused(self.imported(uploader="a:b"), 400, "uploader")
        self.refused(self.send_form([text("name", "x")], target="/api/import", user="ada"), 400)
        self.assertEqual((self.keys(), self.incoming()), ([], []))

    def test_odd_files_are_served_as_before(self) -> None:
        """A file that no upload tool would send was installed from there: it is imported without
        metadata, and the problems are listed.
        """
        other = wheel(metadata_bytes=metadata("eggs", "2.0"))
        problems = self.imported(data=other).json["problems"]
        self.assertTrue(any("eggs" in problem for problem in problems), problems)
        self.assertFalse(self.pypid.file_on("spam", FILE).get("core-metadata"))
        name = sdist_filename("bare")
        self.assertTrue(self.imported(name, b"not an archive").json["problems"])
        self.assertEqual(self.pypid.get(f"/packages/bare/{name}").body, b"not an archive")

    def states(self, *files: tuple[str, str | None]) -> list[str]:
        """What the index has of these files."""
        document = {"files": [{"filename": name, "sha256": digest} for name, digest in files]}
        found: list[str] = self.pypid.api("POST", "/api/import/survey", document).json["states"]
        return found

    def test_survey(self) -> None:
        """Which files are there, with which content; nothing changes."""
        deleted = wheel_filename("eggs")
        self.published(self.imported(deleted, wheel("eggs")))
        self.pypid.api("DELETE", f"/api/projects/eggs/files/{deleted}")
        self.published(self.imported())
        before = self.keys()
        names = (FILE, SHA256), (FILE, "0" * 64), (FILE, None), (sdist_filename(), SHA256)
        self.assertEqual(self.states(*names), ["same", "different", "different", "missing"])
        self.assertEqual(self.states((deleted, None), ("x.txt", None)), ["deleted", "invalid"])
        self.assertEqual(self.keys(), before)
        many = {"files": [{"filename": FILE}] * 1001}
        self.refused(self.pypid.api("POST", "/api/import/survey", many), 400, "1000")
