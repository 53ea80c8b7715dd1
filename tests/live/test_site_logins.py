"""People whom a directory knows log in on the page."""

from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

from twisted.trial.unittest import SynchronousTestCase

from tests.live import test_directory
from tests.live.daemon import LiveIndex, hashes, until_ready
from tests.live.processes import BIN, clean_environ, free_port, running, scratch
from tests.live.site_client import Visitor
from tests.live.slapd import GROUPS, MANAGER, MANAGER_PASSWORD, PEOPLE, dn_of, group, person, slapd


class PeopleElsewhereTests(SynchronousTestCase):
    """People whom a directory knows; only those of the group ``team`` may read
    anything.
    """

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())

    def started(self, text: str, **environ: str) -> LiveIndex:
        """A pypid with this file, whose admin stands in it."""
        port = free_port()
        (self.folder / "pypid.ini").write_text(
            text.replace("PORT", str(port)).replace("FOLDER", str(self.folder))
        )
        command: list[str | Path] = [BIN / "pypid", "serve", "--config", self.folder / "pypid.ini"]
        told = clean_environ(**environ)
        process = self.stack.enter_context(
            running(command, self.folder / "log", cwd=self.folder, environ=told)
        )
        index = LiveIndex(self.folder, port, False, process)
        until_ready(index)
        return index

    def journey(
        self, index: LiveIndex, user: str, password: str, other: str, others: str
    ) -> Visitor:
        """`user` of the team logs in, as does the admin of the file; `other`, who is in no team,
        may read nothing.
        """
        somebody = Visitor(index.url("/"), index.port)
        page = somebody.get("search?q=x")
        self.assertEqual(urlsplit(page.url).path, "/account/login")
        self.assertEqual(
            somebody.send(page.form("account/login"), user=user, password="wrong").status, 403
        )
        there = somebody.send(page.form("account/login"), user=user, password=password)
        self.assertEqual((there.status, there.url), (200, somebody.at("search?q=x")))
        mine = somebody.get("account/")
        self.assertIn(user, mine.says)
        self.assertIn("team", mine.says)
        self.assertEqual(
            somebody.send(
                mine.form("account/tokens"), name="t", actions="read", expires="30d"
            ).status,
            201,
        )
        stranger = Visitor(index.url("/"), index.port)
        refused = stranger.log_in(other, others)
        self.assertEqual((refused.status, refused.is_page), (403, True))
        self.assertIn(f"You are logged in as {other}", refused.says)
        admin = Visitor(index.url("/"), index.port)
        self.assertEqual(admin.log_in("admin").status, 200)
        self.assertIn(user, admin.get("manage/tokens").says)
        return somebody

    def away(self, index: LiveIndex, somebody: Visitor) -> None:
        """Nobody can say who they are: that is said on a page; the admin of the file logs in all
        the same.
        """
        stranger = Visitor(index.url("/"), index.port)
        refused = stranger.log_in("mallory", "x")
        self.assertEqual((refused.status, refused.is_page), (503, True))
        self.assertIn("Wait a moment", refused.says)
        admin = Visitor(index.url("/"), index.port)
        self.assertEqual(admin.log_in("admin").status, 200)
        self.assertEqual(admin.get("manage/").status, 200)
        self.assertIn(
            somebody.get("account/").status, (200, 503)
        )  # for a moment it is remembered who they are

    def test_directory(self) -> None:
        """Of a directory (LDAP)."""
        server = self.stack.enter_context(slapd())
        admin = hashes()["admin"]
        told = {
            "port": "PORT",
            "folder": "FOLDER",
            "admin": admin,
            "url": server.url,
            "certificates": server.certificates,
        }
        places = {
            "manager": MANAGER,
            "password": MANAGER_PASSWORD,
            "people": PEOPLE,
            "groups": GROUPS,
        }
        with server.runs():
            server.fill(
                [
                    person("ada", "wonder land"),
                    person("eve", "apple pie"),
                    group("team", dn_of("ada")),
                ]
            )
            index = self.started(test_directory.INI.format(**told, **places))
            ada = self.journey(index, "ada", "wonder land", "eve", "apple pie")
        self.away(index, ada)
        index.running.stop_in_order()
