"""Users and groups from another service, over real connections: honest services, TLS, and all that
one can do wrong.
"""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import hashlib
import json
import secrets
import socket
import sys
import time
import urllib.error
import urllib.request
from base64 import b64encode
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from twisted.internet import reactor as installed
from twisted.internet.defer import gatherResults
from twisted.internet.task import deferLater
from twisted.logger import LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase

from pypid.access import remote
from pypid.access.remote import RemotePeople, RemoteSourceSettings
from pypid.core.errors import PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, at_once, start
from pypid.http_client.trust import Trust, certificates
from pypid.ports import People
from pypid.testing.people import PeopleContract
from tests.live.certificates import Authority
from tests.live.clients import ROOT
from tests.live.daemon import PASSWORDS, LiveIndex, hashes, until_ready
from tests.live.peopleservice import FAULTS, LOGIN, PEOPLE
from tests.live.processes import BIN, Running, clean_environ, free_port, running, scratch

reactor: Any = installed
PATIENCE = 1.5
REASONS = {
    "s401": "[remote] user and password",
    "s403": "[remote] user and password",
    "s404": "what comes before /check and /find",
    "s500": "it answers with status 500",
    "moved": "write the URL where it is",
    "html": "application/vnd.pypid.people.v1+json",
    "typo": "admn",
    "text-for-truth": "$.admin",
    "somebody-else": "another user",
    "huge": "larger than 64 KiB",
    "endless": "larger than 64 KiB",
    "silent": f"within {PATIENCE:g} seconds",
    "trickling": f"within {PATIENCE:g} seconds",
    "no-json": "no JSON",
}
"""What the log says of a fault, among other things."""
HARMLESS = ("slow", "fails-once")
ALICE = Identity("alice", frozenset({"team"}))
WONDER_LAND = Credential("alice", "wonder land")


def until_listened(host: str, port: int, service: Running) -> None:
    """Wait until somebody takes connections there."""
    for _ in range(300):
        with socket.socket() as probe:
            if probe.connect_ex((host, port)) == 0:
                return
        if service.process.poll() is not None:
            break
        time.sleep(0.05)
    raise AssertionError(f"nobody listens:\n{service.output()}")


class RemoteCase(TestCase):
    """A service in a process of its own, and a source that asks it."""

    timeout = 60
    tls = False
    patience = remote.PATIENCE

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())
        self.authority = Authority()
        self.chain, self.key = self.folder / "chain.pem", self.folder / "key.pem"
        self.authority.issue(self.chain, self.key)
        self.world = World(reactor, lambda: datetime.now(UTC), at_once, secrets.token_bytes)
        self.port = free_port()
        self.said: list[str] = []
        globalLogPublisher.addObserver(self._hear)
        self.addCleanup(globalLogPublisher.removeObserver, self._hear)

    def _hear(self, event: Any) -> None:
        if event["log_level"] is not LogLevel.debug and event.get("log_namespace", "").startswith(
            "pypid"
        ):
            self.said.append(event["log_format"].format(**event))

    def serve(self, host: str = "127.0.0.1") -> Running:
        """Start the service; it ends with the test."""
        files = [self.chain, self.key] if self.tls else []
        command = [sys.executable, "-m", "tests.live.peopleservice", host, str(self.port), *files]
        service = self.stack.enter_context(running(command, self.folder / "service.log", cwd=ROOT))
        until_listened(host, self.port, service)
        return service

    def asking(self, trust: Trust | None = None, **more: Any) -> RemotePeople:
        """A source that asks it."""
        url = f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}/v"
        settings = {
            "url": url,
            "user": LOGIN[0],
            "password": LOGIN[1],
            "patience": self.patience,
            **more,
        }
        reached = remote.connected(reactor, trust)
        self.addCleanup(reached.close)
        self.addCleanup(
            lambda: deferLater(reactor, 0)
        )  # out of the turn in which the last byte came
        return remote.open(RemoteSourceSettings(**settings), self.world, reached.agent)

    def trust(self) -> Trust:
        """Who believes the authority of the tests."""
        return Trust(certificates(self.authority.pem(self.folder).read_bytes(), "x"))

    def asked(self) -> list[list[Any]]:
        """What the service was asked since the last time: path, user, connection."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/asked", timeout=10) as response:
            found: list[list[Any]] = json.load(response)
            return found

    async def unknown(self, question: Any) -> None:
        """It cannot be told, and that in bounded time and without any secret."""
        begun = time.monotonic()
        try:
            found = await question
        except PeopleUnknown as error:
            self.assertLess(time.monotonic() - begun, self.patience + 1)
            for text in (str(error), repr(error), *self.said):
                for secret in ("sésame", "xyzzy"):
                    self.assertNotIn(secret, text)
            return
        self.fail(f"there was an answer: {found}")


class ContractTests(PeopleContract, RemoteCase):
    """What every source keeps, over connections."""

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        self.assertEqual(dict(users), {name: person["password"] for name, person in PEOPLE.items()})
        self.serve()
        return self.asking()


class TlsContractTests(ContractTests):
    """And over TLS."""

    tls = True

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        self.serve()
        return self.asking(self.trust())


class ExampleTests(PeopleContract, RemoteCase):
    """The example of docs/guides/remote-users is a service."""

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        people = {}
        for name, password in users.items():
            salt = secrets.token_bytes(16)
            made = hashlib.scrypt(password.encode(), salt=salt, n=16384, r=8, p=1)
            within = [group for group, members in groups.items() if name in members]
            people[name] = {
                "salt": salt.hex(),
                "hash": made.hex(),
                "groups": within,
                "admin": name == admin,
            }
        file = self.folder / "people.json"
        file.write_text(json.dumps(people))
        example = Path(ROOT) / "docs" / "examples" / "people.py"
        command = [sys.executable, example, str(self.port), file]
        log, environ = (
            self.folder / "service.log",
            clean_environ(LOGIN=":".join(LOGIN), PYTHONUTF8="1"),
        )
        until_listened(
            "127.0.0.1", self.port, self.stack.enter_context(running(command, log, environ=environ))
        )
        return self.asking(url=f"http://localhost:{self.port}")

    async def test_login(self) -> None:
        """It tells nobody anything who does not log in as pypid."""
        people = await self.people()
        self.assertEqual(await people.check(WONDER_LAND), ALICE)
        for password in (None, "x"):
            await self.unknown(
                self.asking(url=f"http://127.0.0.1:{self.port}", password=password).find("alice")
            )


class HonestTests(RemoteCase):
    """A service that works."""

    async def test_connections_are_kept(self) -> None:
        """One question after the other goes over the same connection."""
        self.serve()
        people = self.asking(cache=0.0)
        for _ in range(5):
            self.assertEqual(await people.check(WONDER_LAND), ALICE)
        asked = self.asked()
        self.assertEqual([path for path, _, _ in asked], ["/v/check"] * 5)
        self.assertEqual(len({connection for _, _, connection in asked}), 1)

    async def test_one_flight(self) -> None:
        """Fifty who ask the same at once cost one question."""
        self.serve()
        people = self.asking()
        found = await gatherResults(
            [start(people.check(Credential("slow", "xyzzy"))) for _ in range(50)]
        )
        self.assertEqual(found, [Identity("slow")] * 50)
        self.assertEqual(len(self.asked()), 1)

    async def test_many(self) -> None:
        """Sixty at once are answered, some after the others."""
        self.serve()
        people = self.asking()
        found = await gatherResults([start(people.find(f"user-{number}")) for number in range(60)])
        self.assertEqual(found, [None] * 60)
        self.assertEqual(len({connection for _, _, connection in self.asked()}), remote.AT_ONCE)


class FaultTests(RemoteCase):
    """All that a service can do wrong: nothing is granted, every wait ends, and the next question
    is a new one.
    """

    patience = PATIENCE

    async def test_faults(self) -> None:
        """Each fault leaves it open who somebody is; the log says why, once, and no secret."""
        self.serve()
        people = self.asking()
        self.assertEqual(await people.check(WONDER_LAND), ALICE)
        for user in FAULTS.keys() - set(HARMLESS):
            with self.subTest(user):
                del self.said[:]
                await self.unknown(people.check(Credential(user, "xyzzy")))
                await self.unknown(people.find(user))
                self.assertTrue(1 <= len(self.said) <= 2, (user, self.said))
                self.assertIn("The service of [remote], http://127.0.0.1", self.said[0])
                self.assertIn(REASONS.get(user, ""), self.said[0])
                self.assertIsNone(await people.find(f"not-{user}"))
                self.assertEqual(self.said[-1], "The service of [remote] is available again")

    async def test_no_redirect(self) -> None:
        """A redirect is not followed: a password goes where the configuration says and nowhere
        else.
        """
        self.serve()
        await self.unknown(self.asking().check(Credential("moved", "xyzzy")))
        self.assertEqual([path for path, _, _ in self.asked()], ["/v/check"])

    async def test_own_login(self) -> None:
        """Where the service does not accept our own password, nobody is told that
        theirs is wrong.
        """
        self.serve()
        for user, password in ((LOGIN[0], "wrong"), (None, None)):
            await self.unknown(self.asking(user=user, password=password).check(WONDER_LAND))

    async def test_closed_meanwhile(self) -> None:
        """A connection that ends instead of an answer is tried once more, and only once."""
        self.serve()
        people = self.asking()
        self.assertEqual(
            await people.check(Credential("fails-once", "xyzzy")), Identity("fails-once")
        )
        self.assertEqual(await self.asking().find("fails-once"), Identity("fails-once"))
        self.asked()
        await self.unknown(people.check(Credential("reset", "xyzzy")))
        self.assertEqual(len(self.asked()), 2)

    async def test_gone_and_back(self) -> None:
        """While it is away nobody gets in whom it was not asked about just before; when it is back,
        all is as before.
        """
        service = self.serve()
        people = self.asking(cache=1.0)
        self.assertEqual(await people.check(WONDER_LAND), ALICE)
        service.stop()
        self.assertEqual(await people.check(WONDER_LAND), ALICE)
        await self.unknown(people.check(Credential("alice", "wrong")))
        await deferLater(reactor, 1.0)
        await self.unknown(people.check(WONDER_LAND))
        await self.unknown(people.find("alice"))
        self.assertEqual(len(self.said), 1)
        self.assertIn("it refuses connections", self.said[0])
        self.serve()
        self.assertEqual(await people.check(WONDER_LAND), ALICE)
        with self.assertRaises(Unauthenticated):
            await people.check(Credential("alice", "wrong"))

    async def test_stopped(self) -> None:
        """A machine that takes connections and says nothing ends no wait, but ours does."""
        with socket.socket() as mute:
            mute.bind(("127.0.0.1", self.port))
            mute.listen()
            await self.unknown(self.asking().check(WONDER_LAND))


class TlsTests(RemoteCase):
    """Who answers is who was meant."""

    tls = True

    async def test_unknown_authority(self) -> None:
        """A certificate of an authority that is not known here ends the connection before anything
        is said.
        """
        self.serve()
        await self.unknown(self.asking().check(WONDER_LAND))
        self.assertIn(
            "its certificate has expired, or is of an authority that is not known here.",
            self.said[0],
        )

    async def test_other_host(self) -> None:
        """So does one that is for another host."""
        self.serve("127.0.0.2")
        await self.unknown(
            self.asking(self.trust(), url=f"https://127.0.0.2:{self.port}").check(WONDER_LAND)
        )
        self.assertIn("its certificate is for another host.", self.said[0])

    async def test_plain(self) -> None:
        """And a service that speaks no TLS where it should."""
        self.tls = False
        self.serve()
        await self.unknown(self.asking(url=f"https://127.0.0.1:{self.port}").check(WONDER_LAND))
        self.assertEqual(self.asked(), [])


class DaemonTests(TestCase):
    """A pypid whose people another service knows."""

    timeout = 120

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.addCleanup(self.stack.close)
        self.folder = self.stack.enter_context(scratch())
        self.theirs, port = free_port(), free_port()
        url = f"http://127.0.0.1:{self.theirs}/v"
        (self.folder / "pypid.ini").write_text(
            f"[server]\nlisten = tcp:{port}:interface=127.0.0.1\nstate = "
            f"{self.folder / 'state'}\n[upstream]\nmode = offline\n"
            f"[access]\nbackend = config remote\nread = group:team\nadmins = "
            f"admin\n[users]\nadmin = {hashes()['admin']}\n"
            f"[remote]\nurl = {url}\nuser = {LOGIN[0]}\ncache = 0\n"
        )
        environ = clean_environ(PYPID_REMOTE_PASSWORD=LOGIN[1], PYTHONUTF8="1")
        command = [
            BIN / "twistd",
            "-n",
            "--pidfile=",
            "pypid",
            "--config",
            self.folder / "pypid.ini",
        ]
        process = self.stack.enter_context(
            running(command, self.folder / "log", cwd=self.folder, environ=environ)
        )
        self.index = LiveIndex(self.folder, port, False, process)
        until_ready(self.index)

    def serve(self) -> Running:
        """Start the service."""
        command = [sys.executable, "-m", "tests.live.peopleservice", "127.0.0.1", str(self.theirs)]
        service = self.stack.enter_context(running(command, self.folder / "service.log", cwd=ROOT))
        until_listened("127.0.0.1", self.theirs, service)
        return service

    def status(self, user: str, password: str) -> int:
        """What the index says to somebody."""
        request = urllib.request.Request(self.index.url())
        request.add_header(
            "Authorization", "Basic " + b64encode(f"{user}:{password}".encode()).decode()
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            self.addCleanup(error.close)
            return error.code

    def test_people(self) -> None:
        """Its groups count, a wrong password is 401, no right 403, and 503 while it is away, but
        not for our own admin.
        """
        service = self.serve()
        self.assertEqual(self.status("alice", "wonder land"), 200)
        self.assertEqual(self.status("Bob", "pa:ss:wörd"), 403)
        self.assertEqual(self.status("alice", "wrong"), 401)
        self.assertEqual(self.status("mallory", "wonder land"), 401)
        service.stop()
        self.assertEqual(self.status("alice", "wonder land"), 503)
        self.assertEqual(self.status("mallory", "wonder land"), 503)
        self.assertEqual(self.status("admin", PASSWORDS["admin"]), 200)
        self.assertEqual(self.status("admin", "wrong"), 401)
        self.serve()
        self.assertEqual(self.status("alice", "wonder land"), 200)
        self.index.running.stop_in_order()
        log = self.index.log()
        self.assertIn("The service of [remote], http://127.0.0.1", log)
        self.assertIn("The service of [remote] is available again", log)
        for secret in (LOGIN[1], "wonder land", "pa:ss", PASSWORDS["admin"]):
            self.assertNotIn(secret, log)
