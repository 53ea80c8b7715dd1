"""kill -9, also with an old catalog put back, and what a pypid answers at once after its start.

The long form is ``PYPID_KILLS=200 .venv/bin/python -m twisted.trial
tests.live.test_crash_answers``, or a call of `crash_storm`.
"""

from __future__ import annotations

import http.client
import json
import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.distributions import wheel, wheel_filename
from tests.live.asking import Answered, ask, basic
from tests.live.daemon import Settings, configuration
from tests.live.processes import BIN, Running, clean_environ, free_port, running, scratch

KILLS = int(os.environ.get("PYPID_KILLS", "6"))
PROJECTS = 60
MOST_CHANGES = 6
"""Between two kills."""
JSON = {"Accept": "application/vnd.pypi.simple.v1+json"}


@define
class Expected:
    """What was acknowledged of a project."""

    files: dict[str, bytes] = field(factory=dict)
    yanked: dict[str, str] = field(factory=dict)
    deleted: dict[str, bytes] = field(factory=dict)
    status: str = "active"


@define
class CrashStorm:
    """One index that is killed again and again. `wrong` collects each answer that is older than
    what was acknowledged.
    """

    folder: Path
    chance: random.Random
    sections: str = ""
    """Of the configuration."""
    projects: dict[str, Expected] = field(factory=dict)
    wrong: list[str] = field(factory=list)
    asked: int = 0
    _port: int = 0
    _number: int = 0

    @contextmanager
    def serving(self) -> Iterator[Running]:
        """A pypid that answers; nothing waits for the comparison."""
        self._port = free_port()
        ini = self.folder / "pypid.ini"
        ini.write_text(configuration(self.folder, self._port, Settings(sections=self.sections)))
        command = [BIN / "pypid", "serve", "--config", ini]
        with running(
            command, self.folder / "log", cwd=self.folder, environ=clean_environ()
        ) as process:
            deadline = time.monotonic() + 30
            while True:
                try:
                    if ask(self._port, "/health").status == 200:
                        break
                except (OSError, http.client.HTTPException):
                    assert process.process.poll() is None, process.output()
                    assert time.monotonic() < deadline, process.output()
                    time.sleep(0.005)
            yield process

    def catalog(self) -> dict[Path, bytes]:
        """Return the files of the catalog, while no process has them open."""
        return {path: path.read_bytes() for path in (self.folder / "state").glob("catalog.db*")}

    def put_back(self, catalog: dict[Path, bytes]) -> None:
        """Have an older catalog, as after a power cut, or from a backup."""
        for path in self.catalog():
            path.unlink()
        for path, data in catalog.items():
            path.write_bytes(data)

    # --- changes, each of which is acknowledged ---

    def publish(self, name: str, filename: str, data: bytes, index: str = "") -> Answered:
        """Upload a file, to the index below this path."""
        boundary = "=storm="
        fields = {
            ":action": "file_upload",
            "sha256_digest": sha256(data).hexdigest(),
            "filetype": "bdist_wheel",
        }
        version = filename.split("-")[1]
        fields |= {
            "name": name,
            "version": version,
            "metadata_version": "2.1",
            "pyversion": "py3",
            "protocol_version": "1",
        }
        parts = [
            f'--{boundary}\r\nContent-Disposition: form-data; name="{k}"\r\n\r\n{v}\r\n'
            for k, v in fields.items()
        ]
        parts.append(
            f'--{boundary}\r\nContent-Disposition: form-data; name="content"; '
            f'filename="{filename}"\r\n\r\n'
        )
        body = "".join(parts).encode() + data + f"\r\n--{boundary}--\r\n".encode()
        headers = {"Content-Type": f"multipart/form-data; boundary={boundary}", **basic("alice")}
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=30)
        try:
            connection.request("POST", f"{index}/legacy/", body, headers)
            answer = connection.getresponse()
            return Answered(answer.status, answer.read(), answer.headers)
        finally:
            connection.close()

    def new_file(self, name: str) -> tuple[str, bytes]:
        """A wheel of a version that was never used."""
        self._number += 1
        version = f"1.{self._number}"
        return wheel_filename(name, version), wheel(name, version)

    def add(self, name: str) -> None:
        """Publish a new file."""
        filename, data = self.new_file(name)
        self._done(self.publish(name, filename, data))
        self.projects.setdefault(name, Expected()).files[filename] = data

    def change(self, name: str) -> None:
        """Make one random change."""
        expected = self.projects[name]
        kinds = (
            ["status"]
            + ["yank", "unyank", "delete"] * bool(expected.files)
            + ["add"] * (expected.status == "active")
        )
        kind = self.chance.choice(kinds)
        if kind == "add":
            return self.add(name)
        if kind == "status":
            status = self.chance.choice(["active", "archived", "quarantined", "deprecated"])
            self._api("PUT", f"/api/projects/{name}/status", {"status": status, "reason": "storm"})
            expected.status = status
            return None
        filename = self.chance.choice(sorted(expected.files))
        path = f"/api/projects/{name}/files/{filename}"
        if kind == "yank":
            reason = f"reason {self.chance.random()}"
            self._api("PUT", f"{path}/yank", {"reason": reason})
            expected.yanked[filename] = reason
        elif kind == "unyank":
            self._api("DELETE", f"{path}/yank")
            expected.yanked.pop(filename, None)
        else:
            self._api("DELETE", path)
            expected.deleted[filename] = expected.files.pop(filename)
            expected.yanked.pop(filename, None)
        return None

    def _api(self, method: str, path: str, document: Any = None) -> None:
        self._done(ask(self._port, path, basic("admin"), method=method, document=document))

    def _done(self, answer: Answered) -> None:
        assert answer.status in (200, 201, 204), (answer.status, answer.body)

    # --- questions ---

    def check(self, names: list[str]) -> None:
        """Ask for the pages, the files and uploads of these projects, in any order, and for the
        lists.
        """
        questions = [
            (kind, name)
            for name in names
            for kind in (self.page, self.local_page, self.legacy_json, self.bytes, self.upload)
        ]
        questions += [(self.list, ""), (self.list, "")]
        self.chance.shuffle(questions)
        for kind, name in questions:
            self.asked += 1
            kind(name)

    def expect(self, what: str, is_right: bool, found: object) -> None:
        """Note a wrong answer."""
        if not is_right:
            self.wrong.append(f"{what}: {str(found)[:300]}")

    def page(self, name: str, prefix: str = "/simple") -> None:
        """The page has exactly the files, yanks and status that were acknowledged."""
        answer, expected = ask(self._port, f"{prefix}/{name}/", JSON), self.projects[name]
        if answer.status != 200:
            return self.expect(f"{prefix}/{name}/", False, answer.status)
        page = answer.json
        files = {file["filename"]: file["yanked"] for file in page["files"]}
        shown = {} if expected.status == "quarantined" else expected.files
        wanted = {filename: expected.yanked.get(filename, False) for filename in shown}
        status = page.get("project-status", {"status": "active"})["status"]
        self.expect(
            f"{prefix}/{name}/",
            (files, status) == (wanted, expected.status),
            (files, status, wanted, expected.status),
        )
        return None

    def local_page(self, name: str) -> None:
        """So has the page below /local/."""
        self.page(name, "/local")

    def legacy_json(self, name: str) -> None:
        """Legacy JSON names no file that was deleted or is quarantined."""
        answer, expected = ask(self._port, f"/pypi/{name}/json"), self.projects[name]
        named = set(answer.json["releases"]) if answer.status == 200 else set()
        shown = () if expected.status == "quarantined" else expected.files
        wanted = {filename.split("-")[1] for filename in shown}
        self.expect(
            f"/pypi/{name}/json",
            named == wanted and answer.status in (200, 404),
            (answer.status, named, wanted),
        )

    def bytes(self, name: str) -> None:
        """Files that are shown can be had, with their metadata; others cannot."""
        expected = self.projects[name]
        for filename, data in [*expected.files.items(), *expected.deleted.items()]:
            is_shown = filename in expected.files and expected.status != "quarantined"
            answer = ask(self._port, f"/packages/{name}/{filename}")
            is_right = (
                (answer.status, answer.body) == (200, data)
                if is_shown
                else answer.status in (403, 404)
            )
            self.expect(f"/packages/{name}/{filename}", is_right, answer.status)
            status = ask(self._port, f"/packages/{name}/{filename}.metadata").status
            self.expect(f"{filename}.metadata", (status == 200) is is_shown, status)

    def upload(self, name: str) -> None:
        """A project that is closed takes no upload, and a deleted name no other bytes."""
        expected = self.projects[name]
        if expected.status in ("archived", "quarantined"):
            answer = self.publish(name, *self.new_file(name))
            self.expect(
                f"upload to {expected.status} {name}",
                answer.status == 403,
                (answer.status, answer.body),
            )
        for filename in expected.deleted:
            self._number += 1
            version = filename.split("-")[1]
            answer = self.publish(
                name, filename, wheel(name, version, files={f"{name}_{self._number}.py": b""})
            )
            self.expect(
                f"upload of deleted {filename}",
                answer.status in (400, 403),
                (answer.status, answer.body),
            )

    def list(self, _: str) -> None:
        """A list is whole, or refused with a time to try again."""
        answer = ask(self._port, "/simple/", JSON)
        if answer.status == 503:
            return self.expect(
                "/simple/", answer.headers["Retry-After"] is not None, dict(answer.headers)
            )
        names = {project["name"] for project in answer.json["projects"]}
        wanted = {
            name for name, expected in self.projects.items() if expected.status != "quarantined"
        }
        return self.expect("/simple/", names == wanted, sorted(names ^ wanted))


def crash_storm(kills: int, seed: int = 0, projects: int = PROJECTS) -> CrashStorm:
    """Kill a pypid so often, each time after some changes; the storm, with what was answered
    wrongly.
    """
    with scratch() as folder:
        storm = CrashStorm(folder, random.Random(seed))
        with storm.serving() as process:
            for number in range(projects):
                storm.add(f"storm-{number}")
            process.stop()
        for _ in range(kills):
            before = storm.catalog()
            with storm.serving() as process:
                names = storm.chance.sample(
                    sorted(storm.projects), storm.chance.randint(1, MOST_CHANGES)
                )
                for name in names:
                    storm.change(name)
                process.process.kill()
                process.process.wait()
            if storm.chance.random() < 0.5:
                storm.put_back(before)
            with storm.serving() as process:
                storm.check(names)
                if storm.chance.random() < 0.1:
                    process.stop()
                    with storm.serving():
                        storm.check(names)
                else:
                    process.process.kill()
                    process.process.wait()
        return storm


class CrashAnswersTests(SynchronousTestCase):
    def test_no_answer_after_a_crash_is_older_than_what_was_acknowledged(self) -> None:
        """Pages, files, uploads and lists that are asked for at once after a start agree with all
        acknowledged changes.
        """
        seed = int(os.environ.get("PYPID_STORM_SEED", "0")) or random.randrange(1 << 30)
        storm = crash_storm(KILLS, seed)
        self.assertEqual(storm.wrong, [], json.dumps({"seed": seed, "asked": storm.asked}))
