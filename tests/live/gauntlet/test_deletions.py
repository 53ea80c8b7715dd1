"""Users, groups, owners and rights that are removed while requests run, by two nodes at once, as a
kind of the gauntlet.
"""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any, Final

from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import ask, basic
from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.gauntlet.tally import FULL, Tally
from tests.live.nodes import publish
from tests.live.postgresql import shared
from tests.live.processes import scratch
from tests.live.projects import wheel

ROUNDS: Final = 100 if FULL else 4
KINDS: Final = ("right", "user", "group", "owner")
FILE: Final = wheel("secret")
PATHS: Final = ("/simple/secret/", f"/packages/secret/{FILE.filename}", "/api/projects/secret")
RIGHTS: Final = "/api/projects/secret/rights"
CLOSED: Final = (401, 403, 503)
STRANGERS: Final[tuple[dict[str, str], ...]] = ({}, basic("carol"))


class Watch(threading.Thread):
    """Asks a node for the closed project, again and again, and publishes to it."""

    def __init__(self, index: LiveIndex) -> None:
        super().__init__(daemon=True)
        self.port = index.port
        self.opened: list[str] = []
        self.asked = 0
        self.over = threading.Event()

    def run(self) -> None:
        """Until it is `over`."""
        while not self.over.is_set():
            for who in STRANGERS:
                for path in PATHS:
                    self.note(path, ask(self.port, path, who).status)
            again = wheel("secret", "2.0")
            self.note("upload", publish(self.port, again.filename, again.data, "carol").status)

    def note(self, what: str, status: int) -> None:
        """Count an answer."""
        self.asked += 1
        if status not in CLOSED:
            self.opened.append(f"{what}: {status}")


def does(index: LiveIndex, method: str, path: str, document: Any = None) -> int:
    """The status of an administrator's change."""
    return ask(index.port, path, basic("admin"), method=method, document=document).status


class DeletionTests(SynchronousTestCase):
    """Two nodes with one PostgreSQL."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)

    def test_what_nodes_delete_and_grant_at_once_never_opens(self) -> None:
        """Each round is a trial: while one node removes what a right names, the other one grants
        one, and both are asked.
        """
        tally = Tally("deletions by two nodes at once")
        settings = Settings(
            access="backend = config sql\nowners = uploader",
            sections=f"[database]\nurl = {shared().database()}\n",
            storage=self.stack.enter_context(scratch()) / "packages",
        )
        two = [
            self.stack.enter_context(pypid(self.stack.enter_context(scratch()), settings))
            for _ in range(2)
        ]
        self.prepare(two[0])
        for index in two:
            assert publish(index.port, FILE.filename, FILE.data, "admin").status == 200
        watches = [Watch(index) for index in two]
        for watch in watches:
            watch.start()
        for number in range(ROUNDS):
            kind = KINDS[number % len(KINDS)]
            problems = self.round(two[number % 2], two[1 - number % 2], kind)
            for watch in watches:
                problems += watch.opened
                watch.opened.clear()
            tally.trial(f"round {number}: {kind}", *problems)
        for watch in watches:
            watch.over.set()
            watch.join(60)
            tally.failures += watch.opened
            self.assertGreater(watch.asked, ROUNDS)
        tally.close()

    @staticmethod
    def prepare(index: LiveIndex) -> None:
        """A closed project of alice alone."""
        assert does(index, "PUT", f"{RIGHTS}/user/alice", {"right": "rw"}) == 200

    def round(self, here: LiveIndex, there: LiveIndex, kind: str) -> list[str]:
        """Leave the project with one right, which goes while another one comes; what was refused
        that should not have been.
        """
        made = [does(here, "POST", "/api/users", {"name": "dora"})]
        made.append(does(here, "POST", "/api/groups", {"name": "devs"}))
        made.append(does(here, "PUT", "/api/projects/secret/owner", {"user": "dora"}))
        whom = "group/devs" if kind == "group" else "user/dora"
        made.append(does(here, "PUT", f"{RIGHTS}/{whom}", {"right": "r"}))
        made.append(does(here, "DELETE", f"{RIGHTS}/user/alice"))
        removed = {"right": f"{RIGHTS}/{whom}", "group": "/api/groups/devs"}
        ends: list[int] = []
        threads = [
            threading.Thread(target=lambda each=each: ends.append(does(*each)))
            for each in (
                (here, "DELETE", removed.get(kind, "/api/users/dora")),
                (there, "PUT", f"{RIGHTS}/user/alice", {"right": "rw"}),
            )
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for path in ("/api/users/dora", "/api/groups/devs"):
            does(there, "DELETE", path)
        made.append(does(there, "PUT", f"{RIGHTS}/user/alice", {"right": "rw"}))
        return [f"a change was answered {status}" for status in (*made, *ends) if status >= 300]
