"""`storage import-devpi`, with export folders as devpi-server writes them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

from pypid.daemon.control import ControlRefused, ControlRequest
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.full_app import J, basic

HASH = (
    "$argon2id$v=19$m=65536,t=1,p=4$DAEAwBgDoDQmJMR4T2ktBQ$ZbxU8xwJfA5V1s7xSp84ElClJ9bswnFkPV69xqD"
    "mWgE"
)
PASSWORD = "h\u00e9llo w\u00f6rld"
MIRROR = {"type": "mirror", "mirror_url": "https://pypi.org/simple/"}


class ExportFolder:
    """An export, which a test fills."""

    def __init__(self, path: Path) -> None:
        path.mkdir()
        self.path = path
        self.users: dict[str, Any] = {}
        self.indexes: dict[str, Any] = {}

    def have_index(self, name: str, **config: Any) -> None:
        """Have an index, of the usual type unless the settings have another one."""
        config = {"type": "stage", "volatile": False, **config}
        self.indexes[name] = {"indexconfig": config, "projects": {}, "files": []}

    def have_file(
        self, index: str, project: str, version: str = "1.0", data: bytes | None = None
    ) -> Path:
        """Have a wheel in the index; return its path."""
        content = wheel(project, version) if data is None else data
        path = f"{index}/{project}/{version}/{wheel_filename(project, version)}"
        digest = sha256(content).hexdigest()
        self.indexes[index]["projects"].setdefault(project, {})[version] = {}
        self.indexes[index]["files"].append(
            {
                "relpath": path,
                "type": "releasefile",
                "projectname": project,
                "version": version,
                "entrymapping": {"hashes": {"sha256": digest}},
                "log": [{"what": "upload", "who": "ada", "when": [2020, 1, 2, 3, 4, 5]}],
            }
        )
        file = self.path / path
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        return file

    def write(self) -> str:
        """Write the document; return the path of the folder."""
        document = {
            "dumpversion": "2",
            "devpi_server": "6.20.3",
            "users": self.users,
            "indexes": self.indexes,
        }
        (self.path / "dataindex.json").write_text(json.dumps(document))
        return str(self.path)


class ImportDevpiTests(CommandCase):
    """Over a whole server and its control socket."""

    def setUp(self) -> None:
        super().setUp()
        self.export = ExportFolder(Path(self.mktemp()))
        self.closed_at: list[tuple[str, int]] = []

    def answer(self, question: ControlRequest) -> Any:
        if question.form is not None and "/api/import" in question.url:
            name = question.url.split("/")[1]
            status = self.pypid.get(f"/{name}/simple/", J).status
            self.closed_at.append((name, status))
        return super().answer(question)

    def run_import(self, *options: str) -> dict[str, Any]:
        """Run the command; the report, with the exit status."""
        words = ("storage", "import-devpi", self.export.write(), "--json", *options)
        status, out, err = self.run_command("", *words)
        self.assertIn(status, (None, 0, 1), (status, out, err))
        return {**json.loads(out), "status": status or 0}

    def files_on(self, index: str, project: str) -> dict[str, Any]:
        """The files on a project page by name."""
        answer = self.pypid.get(f"/{index}/simple/{project}/", J)
        self.assertEqual(answer.status, 200, answer)
        return {file["filename"]: file for file in answer.json["files"]}

    def test_whole_import(self) -> None:
        """Users, indexes with their settings, and files with times and uploaders."""
        self.export.users = {"carol": {"pwhash": HASH}}
        self.export.have_index("root/pypi", **MIRROR)
        self.export.have_index("ada/prod", acl_upload=["carol"])
        self.export.have_index(
            "ada/dev", bases=["ada/prod", "root/pypi"], volatile=True, acl_upload=["carol"]
        )
        self.export.have_file("ada/prod", "spam")
        self.export.have_file("ada/dev", "eggs")
        report = self.run_import()
        self.assertEqual((report["status"], report["problems"], report["files"]), (0, [], []))
        self.assertEqual(
            [(index["name"], index["imported"]) for index in report["indexes"]],
            [("ada-prod", 1), ("root-pypi", 0), ("ada-dev", 1)],
        )
        (file,) = self.files_on("ada-dev", "spam").values()
        self.assertEqual(file["upload-time"], "2020-01-02T03:04:05Z")
        self.assertEqual(self.files_on("ada-dev", "eggs").keys(), {wheel_filename("eggs", "1.0")})
        values = json.loads(self.prints("index show ada-dev --json"))["values"]
        self.assertEqual(values["bases"], "ada-prod root-pypi")
        self.assertEqual((values["write"], values["volatile"]), ("carol", "yes"))
        self.assertNotIn("read", values)
        me = self.pypid.get("/api/me", None, basic("carol", PASSWORD))
        self.assertEqual(me.status, 200)
        self.assertEqual(self.closed_at, [("ada-prod", 401), ("ada-dev", 401)])

    def test_repetition_changes_nothing(self) -> None:
        """Users, indexes and files stay as they are. An index whose settings were changed is
        imported into only if its name is given.
        """
        self.export.users = {"carol": {"pwhash": HASH}}
        self.export.have_index("ada/prod", acl_upload=["carol"])
        self.export.have_file("ada/prod", "spam")
        self.run_import()
        self.prints("index set ada-prod", "read=ada", "write=ada")
        before = json.loads(self.prints("index show ada-prod --json"))
        self.assertEqual(self.run_import()["status"], 1)
        report = self.run_import("--name", "ada/prod=ada-prod")
        self.assertEqual(report["status"], 0)
        (index,) = report["indexes"]
        self.assertEqual((index["imported"], index["existing"]), (0, 1))
        self.assertEqual(report["users"]["users_there"], 1)
        self.assertEqual(json.loads(self.prints("index show ada-prod --json")), before)

    def test_interruption(self) -> None:
        """The index stays closed, and the next run continues."""
        self.export.have_index("ada/prod")
        for number in range(3):
            self.export.have_file("ada/prod", "spam", f"{number}.0")
        answer, sent = self.answer, 0

        def interrupted(question: ControlRequest) -> Any:
            nonlocal sent
            sent += question.form is not None
            if sent > 1:
                return ControlRefused("The storage is unavailable.", 503)
            return answer(question)

        self.patch(self, "answer", interrupted)
        status, *_ = self.run_command("storage import-devpi", self.export.write())
        self.assertIsInstance(status, str)
        self.assertIn("Run the command again to continue it", status)
        self.assertIn(self.pypid.get("/ada-prod/simple/spam/", J).status, (401, 403, 404))
        self.patch(self, "answer", answer)
        report = self.run_import()
        self.assertEqual(report["status"], 0)
        (index,) = report["indexes"]
        self.assertEqual((index["imported"], index["existing"]), (2, 1))
        self.assertEqual(len(self.files_on("ada-prod", "spam")), 3)

    def test_dry_run(self) -> None:
        """It counts, finds files that the folder does not have, and changes nothing."""
        self.export.users = {"carol": {"pwhash": HASH}}
        self.export.have_index("ada/prod")
        self.export.have_file("ada/prod", "spam")
        self.export.have_file("ada/prod", "eggs").unlink()
        report = self.run_import("--dry-run")
        self.assertEqual(report["status"], 1)
        (index,) = report["indexes"]
        self.assertEqual((index["state"], index["imported"], index["failed"]), ("new", 1, 1))
        self.assertIn("does not contain it", report["files"][0]["message"])
        self.assertEqual(json.loads(self.prints("index list --json"))["indexes"], [])
        self.assertEqual(self.pypid.get("/api/me", None, basic("carol", PASSWORD)).status, 401)

    def test_problems_stop_everything(self) -> None:
        """Two indexes of one name, a name that an index has already: nothing is imported."""
        self.export.have_index("a-b/c")
        self.export.have_index("a/b-c")
        self.export.have_file("a-b/c", "spam")
        report = self.run_import()
        self.assertEqual((report["status"], len(report["problems"])), (1, 1))
        self.assertEqual(json.loads(self.prints("index list --json"))["indexes"], [])
        report = self.run_import("--name", "a/b-c=other")
        self.assertEqual(report["status"], 0)
        self.export.indexes.clear()
        self.export.have_index("a/b-c", acl_upload=["ada"])
        report = self.run_import()
        self.assertIn("--name a/b-c=a-b-c", report["problems"][0]["advice"])
        report = self.run_import("--name", "a/b-c=a-b-c")
        self.assertEqual((report["status"], report["problems"]), (0, []))
        self.assertIn("a/b-c", [each["subject"] for each in report["left"]])

    def test_files_that_cannot_be_imported(self) -> None:
        """Other bytes, links and odd names are listed; a project without any file, too."""
        self.export.have_index("ada/prod")
        self.export.have_file("ada/prod", "good")
        self.export.have_file("ada/prod", "changed").write_bytes(b"other")
        secret = Path(self.mktemp())
        secret.write_bytes(wheel("linked", "1.0"))
        linked = self.export.have_file("ada/prod", "linked", data=secret.read_bytes())
        linked.unlink()
        linked.symlink_to(secret.resolve())
        report = self.run_import()
        self.assertEqual(report["status"], 1)
        messages = {Path(each["file"]).parts[2]: each["message"] for each in report["files"]}
        self.assertEqual(messages.keys(), {"changed", "linked"})
        self.assertIn("symbolic link", messages["linked"])
        unprotected = [each["what"] for each in report["left"] if "reserved" in each["advice"]]
        self.assertEqual(len(unprotected), 2)
        self.assertEqual(self.files_on("ada-prod", "good").keys(), {wheel_filename("good", "1.0")})

    def test_unsuitable_folder(self) -> None:
        """No folder, no document, a document of something else: one line, and status 1."""
        for content in (None, "{}", "[1", '{"dumpversion": "9", "users": {}, "indexes": {}}'):
            folder = Path(self.mktemp())
            folder.mkdir()
            if content is not None:
                (folder / "dataindex.json").write_text(content)
            status, _, err = self.run_command("storage import-devpi", str(folder))
            self.assertIn("dataindex.json", f"{status}{err}", content)
        status, _, err = self.run_command("storage import-devpi", "/nonexistent/folder")
        self.assertIn("nothing was imported", f"{status}{err}")
