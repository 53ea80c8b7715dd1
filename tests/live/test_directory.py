"""A pypid that asks a real directory who somebody is, as a client sees it."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import time
import urllib.error
import urllib.request
from base64 import b64encode
from contextlib import ExitStack
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.daemon import PASSWORDS, LiveIndex, check_log, hashes, until_ready
from tests.live.processes import BIN, clean_environ, free_port, running, scratch
from tests.live.slapd import GROUPS, MANAGER, MANAGER_PASSWORD, PEOPLE, dn_of, group, person, slapd

INI = """\
[server]
listen = tcp:{port}:interface=127.0.0.1
state = {folder}/state
[upstream]
mode = offline
[access]
backend = config ldap
read = group:team
admins = admin
[users]
admin = {admin}
[ldap]
url = {url}
ca_certificates = {certificates}
bind_dn = {manager}
bind_password = {password}
base_dn = {people}
group_base_dn = {groups}
admin_group = cn=Site Admins,{groups}
"""


class DirectoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        stack = ExitStack()
        self.addCleanup(stack.close)
        self.server = stack.enter_context(slapd())
        self.folder: Path = stack.enter_context(scratch())
        self.stack = stack

    def start(self) -> LiveIndex:
        port = free_port()
        (self.folder / "pypid.ini").write_text(
            INI.format(
                port=port,
                folder=self.folder,
                admin=hashes()["admin"],
                url=self.server.url,
                certificates=self.server.certificates,
                manager=MANAGER,
                password=MANAGER_PASSWORD,
                people=PEOPLE,
                groups=GROUPS,
            )
        )
        command: list[str | Path] = [
            BIN / "twistd",
            "--nodaemon",
            "--pidfile=",
            "pypid",
            "--config",
            self.folder / "pypid.ini",
        ]
        process = self.stack.enter_context(
            running(command, self.folder / "log", cwd=self.folder, environ=clean_environ())
        )
        index = LiveIndex(self.folder, port, False, process)
        until_ready(index)
        return index

    def status(self, index: LiveIndex, user: str, password: str, path: str = "/simple/") -> int:
        pair = b64encode(f"{user}:{password}".encode()).decode()
        request = urllib.request.Request(
            index.url(path), headers={"Authorization": f"Basic {pair}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return int(answer.status)
        except urllib.error.HTTPError as error:
            with error:
                return int(error.code)

    def test_daemon(self) -> None:
        """People of the directory's groups may read, others not; while it is away they get 503, and
        the file's admin none.
        """
        with self.server.runs():
            self.server.fill(
                [
                    person("alice", "wonder land"),
                    person("bob", "builder"),
                    person("carol", "singer"),
                    person("dave", "diver"),
                    group("team", dn_of("alice"), dn_of("dave")),
                    group("Site Admins", dn_of("carol")),
                ]
            )
            index = self.start()
            asked = (
                ("alice", "wonder land", 200),
                ("alice", "builder", 401),
                ("alice", "", 401),
                ("Alice", "wonder land", 401),
                ("bob", "builder", 403),
                ("carol", "singer", 200),
                ("nobody-known", "x", 401),
                ("*", "x", 401),
                ("admin", PASSWORDS["admin"], 200),
            )
            self.assertEqual(
                [
                    (user, password, self.status(index, user, password))
                    for user, password, _ in asked
                ],
                [*asked],
            )
        self.assertEqual(self.status(index, "dave", "diver"), 503)
        self.assertEqual(self.status(index, "admin", PASSWORDS["admin"]), 200)
        with self.server.runs():
            deadline = time.monotonic() + 20
            while self.status(index, "dave", "diver") != 200:
                self.assertLess(time.monotonic(), deadline)
                time.sleep(0.2)
        self.assertEqual(index.running.stop(), 0)
        check_log(index.log())
        for secret in ("wonder land", "builder", "singer", "diver", MANAGER_PASSWORD):
            self.assertNotIn(secret, index.log())
        self.assertIn("The LDAP directory is unavailable", index.log())
        self.assertIn("The LDAP directory is available again", index.log())
