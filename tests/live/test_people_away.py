"""A real pypid, or two, whose people are in PostgreSQL: what holds while that is stopped, and what
travels.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import Any, Final

from attrs import define, field
from twisted.trial.unittest import SynchronousTestCase

from tests.live.asking import Answered, ask, basic, bearer
from tests.live.daemon import LiveIndex, Settings, pypid
from tests.live.postgresql import PASSWORD as SECRET
from tests.live.postgresql import Postgresql, postgresql
from tests.live.processes import scratch
from tests.live.projects import publish, wheel

PLAIN, HIDDEN = wheel("plain"), wheel("hidden")
PAGE: Final = "/simple/hidden/"


@define
class Hammer:
    """Somebody who asks for the same again and again, each time over a connection of its own."""

    port: int
    path: str
    headers: dict[str, str]
    heard: list[tuple[float, Answered]] = field(factory=list)
    _ended: threading.Event = field(factory=threading.Event)

    @property
    def statuses(self) -> set[int]:
        """Of all answers."""
        return {answer.status for _, answer in self.heard}

    def strike(self) -> None:
        """Until it `ended`."""
        while not self._ended.is_set():
            began = time.monotonic()
            try:
                self.heard.append((began, ask(self.port, self.path, self.headers)))
            except (OSError, HTTPException) as error:  # pypid is never gone: this shows
                self.heard.append((began, Answered(0, repr(error).encode(), None)))  # type: ignore[arg-type]
            time.sleep(0.02)

    @contextmanager
    def on(self) -> Iterator["Hammer"]:
        """It asks."""
        thread = threading.Thread(target=self.strike)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(60)


class AwayCase(SynchronousTestCase):
    """A PostgreSQL for this test alone, which has dora, and who may read what is hidden."""

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.server: Postgresql = self.stack.enter_context(postgresql())
        self.access = f"backend = config sql\nurl = {self.server.database()}"

    def node(self, folder: Path | None = None) -> AbstractContextManager[LiveIndex]:
        """A pypid with this database, and files of its own."""
        return pypid(folder or self.stack.enter_context(scratch()), Settings(access=self.access))

    def does(self, index: LiveIndex, method: str, path: str, document: Any = None) -> Any:
        """What the API answers an administrator of the configuration."""
        answer = ask(index.port, path, basic("admin"), method=method, document=document)
        self.assertIn(answer.status, (200, 201), answer)
        return answer.json

    def fill(self, index: LiveIndex) -> tuple[str, dict[str, Any]]:
        """Files, dora, and who may read; her password, and a token of hers."""
        publish(index, PLAIN, HIDDEN, user="admin")
        password = self.does(index, "POST", "/api/users", {"name": "dora"})["password"]
        self.does(index, "PUT", "/api/projects/hidden/rights/user/dora", {"right": "rw"})
        token = self.does(
            index,
            "POST",
            "/api/tokens",
            {"name": "ci", "user": "dora", "actions": ["read", "publish"]},
        )
        return password, token

    def until(
        self,
        index: LiveIndex,
        headers: dict[str, str],
        status: int,
        within: float,
        path: str = PAGE,
    ) -> float:
        """Seconds until that is the status."""
        began = time.monotonic()
        while (answer := ask(index.port, path, headers)).status != status:
            self.assertLess(time.monotonic() - began, within, f"{answer}\n{index.log()}")
            time.sleep(0.05)
        return time.monotonic() - began


class StoppedTests(AwayCase):
    def test_while_requests_run(self) -> None:
        """Stopped as by a crash, under requests: its people get 503 and nothing else, whoever may
        not still may not, what everybody may read goes on, an administrator of the file gets in,
        and nobody does anything when it is back.
        """
        with self.node() as index:
            password, token = self.fill(index)
            dora, anonymous = basic("dora", password), dict[str, str]()
            asked = {
                "dora": Hammer(index.port, PAGE, dora),
                "token": Hammer(index.port, PAGE, bearer(token["secret"])),
                "wrong": Hammer(index.port, PAGE, basic("bob")),
                "hidden": Hammer(index.port, f"/packages/hidden/{HIDDEN.filename}", anonymous),
                "plain": Hammer(index.port, "/simple/plain/", anonymous),
                "admin": Hammer(index.port, PAGE, basic("admin")),
            }
            with ExitStack() as hammering:
                for hammer in asked.values():
                    hammering.enter_context(hammer.on())
                time.sleep(0.5)
                self.server.stop("immediate")
                self.until(index, dora, 503, 12)
                refused = ask(index.port, PAGE, dora)
                change = ask(
                    index.port, "/api/groups", basic("admin"), method="POST", document={"name": "x"}
                )
                self.assertEqual(change.status, 503)
                time.sleep(1)
                self.server.start()
                back = self.until(index, dora, 200, 10)
                self.assertEqual(ask(index.port, PAGE, bearer(token["secret"])).status, 200)
                time.sleep(0.3)
            self.assertGreaterEqual(int(refused.headers["Retry-After"]), 1)
            self.assertIn("accounts database", refused.text)
            self.assertNotIn(SECRET, index.log())
            self.assertLess(back, 8)
            seen = {name: hammer.statuses for name, hammer in asked.items()}
            self.assertEqual(seen["dora"] - {503}, {200})
            self.assertEqual(seen["token"], {200, 503})
            self.assertEqual(
                seen["wrong"] - {503}, {403}
            )  # bob is of the file; the database may put him into groups
            self.assertEqual(seen["hidden"] - {503}, {401})  # 503: rights may have changed there
            self.assertEqual((seen["plain"], seen["admin"]), ({200}, {200}))
            self.assertEqual(
                [group["name"] for group in self.does(index, "GET", "/api/groups")["groups"]], []
            )
            self.does(index, "POST", "/api/groups", {"name": "afterwards"})
