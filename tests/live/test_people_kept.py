"""People, rights and tokens on a machine that is lost: another one has them out of the bucket,
before it shows anything.
"""

import contextlib
import http.client
import json
import re
import shutil
import sqlite3
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from attrs import define, field

from pypid.jobs.backup.copies import unseal
from tests.live.asking import ask, basic, bearer, command
from tests.live.isolation import twine
from tests.live.processes import done
from tests.live.projects import wheel
from tests.live.test_throwaway import PASSWORD, Machine, ThrowawayCase

REVOKED: Final = "SELECT 1 FROM pypid_tokens WHERE revoked IS NOT NULL"
TOLD: Final = "SELECT 1 FROM pypid_deeds WHERE what = 'token delete'"
PLANS: Final = wheel("secret-plans")
HIDDEN: Final = (
    "/simple/secret-plans/",
    f"/packages/secret-plans/{PLANS.filename}",
    f"/packages/secret-plans/{PLANS.filename}.metadata",
    f"/local/secret-plans/{PLANS.filename}",
    "/pypi/secret-plans/json",
    "/api/projects/secret-plans",
)
LISTS: Final = ("/simple/", "/local/", "/api/projects")


@define
class Watch:
    """Asks again and again for what is hidden, as somebody who may not see it, from before pypid
    listens.
    """

    port: int
    headers: dict[str, str]
    seen: Counter[int] = field(factory=Counter)
    leaks: list[str] = field(factory=list)
    _ended: threading.Event = field(factory=threading.Event)

    def look(self) -> None:
        """Until it `ended`."""
        while not self._ended.is_set():
            for path in HIDDEN + LISTS:
                with contextlib.suppress(OSError, http.client.HTTPException):
                    got = ask(self.port, path, self.headers)
                    self.seen[got.status] += 1
                    if (
                        (b"secret" in got.body)
                        if path in LISTS
                        else (got.status not in (401, 403, 503))
                    ):
                        self.leaks.append(f"{path}: {got.status} {got.text[:200]}")

    @contextmanager
    def on(self) -> Iterator["Watch"]:
        """It looks."""
        thread = threading.Thread(target=self.look)
        thread.start()
        try:
            yield self
        finally:
            self._ended.set()
            thread.join(30)


class KeptTests(ThrowawayCase):
    """A machine with people, and the next one."""

    def one(self) -> Machine:
        """A new one, with accounts."""
        machine = self.machine()
        with (machine.folder / "pypid.ini").open("a") as file:
            file.write("[access]\nbackend = config sql\nregistration = token\nwrite = group:devs\n")
        return machine

    def does(
        self, machine: Machine, admin: str, method: str, path: str, document: Any = None
    ) -> Any:
        """What the API answers an administrator."""
        answer = ask(machine.port, path, basic("admin", admin), method=method, document=document)
        assert answer.status in (200, 201), answer
        return answer.json

    def upload(self, machine: Machine, password: str, path: Path) -> None:
        url = f"http://127.0.0.1:{machine.port}/legacy/"
        done(twine(url, "admin", password, path))

    def deeds(self, machine: Machine) -> list[dict[str, Any]]:
        """The audit log, the oldest first."""
        return list(
            reversed(
                json.loads(
                    command(machine.folder / "pypid.ini", "audit", "--most", "1000", "--json")
                )["entries"]
            )
        )

    def is_kept(self, machine: Machine, name: str, question: str) -> bool:
        """Whether the copy of that database in the bucket has what is asked for."""
        sealed = self.object(f".pypid/of-record/{name}")
        if sealed is None:
            return False
        file = machine.folder / f"copy-of-{name}"
        file.write_bytes(unseal(self.secret, name, sealed))
        with (
            contextlib.closing(sqlite3.connect(file)) as copy,
            contextlib.suppress(sqlite3.OperationalError),
        ):
            return copy.execute(question).fetchone() is not None
        return False  # it is from before there was such a table

    def until_kept(self, machine: Machine, within: float = 10.0) -> float:
        """Seconds until the revoked token is one in the bucket, and the audit log there says so."""
        began = time.monotonic()
        while not (
            self.is_kept(machine, "accounts.db", REVOKED)
            and self.is_kept(machine, "journal.db", TOLD)
        ):
            assert time.monotonic() - began < within, "it is not in the bucket"
            time.sleep(0.1)
        return time.monotonic() - began

    def test_lost(self) -> None:
        """Killed, and its state lost: the next one hides what is hidden from its first answer on,
        and then knows everybody, their rights, tokens and sessions, and what was done; a change is
        in the bucket within ten seconds.
        """
        first = self.one()
        with first.runs("compared with"):
            admin = re.findall(PASSWORD, first.log)[0]
            for artifact in PLANS, wheel("spam"):
                self.upload(first, admin, artifact.into(first.folder / "dist"))
        with first.runs("compared with"):
            dora, eve = (
                self.does(first, admin, "POST", "/api/users", {"name": name})["password"]
                for name in ("dora", "eve")
            )
            self.does(first, admin, "POST", "/api/groups", {"name": "devs"})
            self.does(first, admin, "PUT", "/api/groups/devs/members/dora")
            self.does(
                first, admin, "PUT", "/api/projects/secret-plans/rights/group/devs", {"right": "rw"}
            )
            wanted = {"user": "dora", "actions": ["publish", "read"], "name": "ci"}
            token, other = (
                self.does(first, admin, "POST", "/api/tokens", wanted) for _ in range(2)
            )
            invitation = self.does(first, admin, "POST", "/api/invitations", {})["secret"]
            login = {"user": "dora", "password": dora}
            cookie = str(
                ask(first.port, "/api/session", method="POST", document=login).headers["Set-Cookie"]
            ).split(";")[0]
            self.does(first, admin, "DELETE", f"/api/tokens/{other['id']}")
            self.assertLess(self.until_kept(first), 10)
            before = self.deeds(first)
            first.kill()
            shutil.rmtree(first.state)
        second = self.one()
        watches = [Watch(second.port, {}), Watch(second.port, basic("eve", eve))]
        with watches[0].on(), watches[1].on(), second.runs("compared with"):
            time.sleep(0.5)
            for watch in watches:
                self.assertEqual(watch.leaks, [])
            self.assertIn("accounts.db", second.log)
            self.assert_knows(second, dora, token["secret"], other["secret"], cookie)
            for user, status in ("fred", 201), ("gina", 400):
                wanted = {"user": user, "password": "a-long-secret", "token": invitation}
                self.assertEqual(
                    ask(second.port, "/api/register", method="POST", document=wanted).status, status
                )
            after = self.deeds(second)
        for watch, least in zip(watches, ({401, 503}, {403, 503}), strict=True):
            self.assertEqual(watch.leaks, [])
            self.assertTrue(
                set(watch.seen) >= least, watch.seen
            )  # it did look while nothing was known, and afterwards
        self.assertEqual(after[: len(before)], before)
        self.assertEqual([deed["serial"] for deed in after], list(range(1, len(after) + 1)))
        words = {deed["action"] for deed in before}
        self.assertTrue(
            words
            >= {
                "user create",
                "group add-user",
                "right grant",
                "token create",
                "token delete",
                "project publish",
            },
            words,
        )

    def assert_knows(
        self, machine: Machine, dora: str, token: str, revoked: str, cookie: str
    ) -> None:
        """Who dora is, by what, and what she may; and that a revoked token stays so."""
        for headers in basic("dora", dora), bearer(token), {"Cookie": cookie}:
            self.assertEqual(ask(machine.port, HIDDEN[0], headers).status, 200)
        self.assertEqual(ask(machine.port, "/simple/", bearer(revoked)).status, 401)
        self.assertEqual(ask(machine.port, "/simple/", basic("dora", dora + "x")).status, 401)
        self.assertEqual(ask(machine.port, "/simple/spam/").status, 200)
