"""An index of the former version: the new one starts on its data, and nothing is lost.

``version-0.1.0.tar.xz`` has the state and the storage that version 0.1.0 wrote, and in
``expected.json`` what it answered.
"""

import json
import re
import tarfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import Answered, ask, basic, command
from tests.live.daemon import LiveIndex, check_log, until_ready
from tests.live.isolation import works
from tests.live.processes import BIN, free_port, running, scratch
from tests.live.projects import wheel

DATA: Final = Path(__file__).parent / "version-0.1.0.tar.xz"
PAGE: Final = {"Accept": "application/vnd.pypi.simple.v1+json"}

# The actions of the former version's audit log, which are called like the commands now
RENAMED = {
    "add-group": "group create",
    "add-user": "user create",
    "delete-release": "project delete",
    "join-group": "group add-user",
    "make-snapshot": "snapshot create",
    "make-token": "token create",
    "publish-file": "project publish",
    "set-right": "right grant",
    "set-status": "project set-status",
    "yank": "project yank",
}
# The keys of the former version's JSON, which have other names now
KEYS = {
    "deeds": "entries",
    "from": "source",
    "standing": "status",
    "what": "action",
    "where": "address",
    "who": "user",
}


def renamed(old: Any) -> Any:
    """The document of the former version, with the keys of this one."""
    if isinstance(old, list):
        return list(map(renamed, old))
    if not isinstance(old, dict):
        return old
    return {
        KEYS.get(key, key): value if key == "details" else renamed(value)
        for key, value in old.items()
    }


def contains(new: Any, old: Any) -> bool:
    """Whether the new document has everything of the old one; it may have more keys."""
    if isinstance(old, dict):
        return isinstance(new, dict) and all(
            key in new and contains(new[key], value) for key, value in old.items()
        )
    if isinstance(old, list):
        return len(new) == len(old) and all(map(contains, new, old))
    return bool(new == old)


class UpgradeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())
        with tarfile.open(DATA) as archive:
            archive.extractall(self.folder)
        self.former = self.folder / "former"
        self.expected = json.loads((self.former / "expected.json").read_text())
        self.port = free_port()
        ini = self.former / "pypid.ini"
        ini.write_text(re.sub(r"tcp:\d+", f"tcp:{self.port}", ini.read_text()))
        self.config = ini

    def page(self, project: str, user: str) -> Answered:
        headers = basic(user, self.expected["passwords"][user]) if user else {}
        return ask(self.port, f"/simple/{project}/", {**PAGE, **headers})

    def test_nothing_is_lost(self) -> None:
        """All pages as each user sees them, logins, the token, rights and the audit log
        are those of the former version.
        """
        log = self.folder / "log"
        line = [BIN / "pypid", "serve", "--config", self.config]
        with running(line, log, cwd=self.folder) as process:
            until_ready(LiveIndex(self.former, self.port, False, process))
            self.same_pages()
            self.same_lists()
            self.logins()
            works(self.upload(), self.folder)
            self.assertEqual(process.stop(), 0)
        check_log(log.read_text())

    def same_pages(self) -> None:
        for user, pages in self.expected["pages"].items():
            for project, old in pages.items():
                answer = self.page(project, user)
                if isinstance(old, int):
                    self.assertEqual(answer.status, old, (user, project, answer.text))
                    continue
                old.pop("meta")
                self.assertTrue(contains(answer.json, old), (user, project, answer.text))

    def same_lists(self) -> None:
        for name, words in (
            ("users", ("user", "list")),
            ("groups", ("group", "list")),
            ("rights", ("right", "list")),
        ):
            new = json.loads(command(self.config, *words, "--json"))
            former = renamed(self.expected[name])
            self.assertTrue(contains(new, former), (name, new, former))
        audit = json.loads(command(self.config, "audit", "--json"))["entries"]
        entries = renamed(self.expected["audit"])["entries"]
        for entry in entries:
            entry["action"] = RENAMED.get(entry["action"], entry["action"])
        self.assertTrue(contains(audit[-len(entries) :], entries), (audit, entries))

    def logins(self) -> None:
        for user, password in self.expected["passwords"].items():
            self.assertEqual(ask(self.port, "/api/session", basic(user, password)).status, 200)
            wrong = ask(self.port, "/api/session", basic(user, password + "x"))
            self.assertEqual(wrong.status, 401, user)

    def upload(self) -> list[str | Path]:
        """A command that publishes with the token of the former version."""
        new = wheel("closed", "2.0").into(self.folder)
        return [
            "/usr/bin/curl", "--silent", "--show-error", "--fail-with-body",
            "--user", f"__token__:{self.expected['token']}",
            "--form", ":action=file_upload", "--form", "protocol_version=1",
            "--form", f"content=@{new}", f"http://127.0.0.1:{self.port}/legacy/",
        ]  # fmt: skip
