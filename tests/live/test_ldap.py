"""Users and groups out of a real directory, over real connections."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

import atexit
import contextlib
import functools
import secrets
import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import LogEvent, capturedLogs, formatEvent
from twisted.python.threadpool import ThreadPool
from twisted.trial.unittest import TestCase

from pypid.access.ldap import open
from pypid.core.configuration.keys import LdapSettings
from pypid.core.errors import Busy, CannotStart, PeopleUnknown, Unauthenticated
from pypid.core.permissions import Credential, Identity
from pypid.flow import World, start
from pypid.ports import People
from tests.live.certificates import Authority
from tests.live.slapd import (
    BASE,
    GROUPS,
    MANAGER,
    MANAGER_PASSWORD,
    MOST_GIVEN,
    PEOPLE,
    Slapd,
    dn_of,
    group,
    person,
    slapd,
)
from tests.support.people import PeopleContract

if TYPE_CHECKING:
    Case = TestCase
else:
    Case = object  # a mixin: trial would run it by itself

reactor: Any = installed
YES = bytes.fromhex("300c02010178070a010004000400")
"""What a directory says when it wants to encrypt."""


@functools.cache
def shared() -> Slapd:
    """One for all tests of this process."""
    stack = ExitStack()
    atexit.register(stack.close)
    server = stack.enter_context(slapd())
    stack.enter_context(server.runs())
    return server


class Asking(Case):
    """Tests that ask a directory, in real threads."""

    def setUp(self) -> None:
        self.server = shared()
        self.pool = ThreadPool(0, 8)
        self.pool.start()
        self.addCleanup(self.pool.stop)
        self.world = World(
            clock=reactor,
            now=lambda: datetime.now(UTC),
            blocking=lambda call, *args: deferToThreadPool(
                reactor, self.pool, self.ran, call, *args
            ),
            random=secrets.token_bytes,
        )
        self.counting = threading.Lock()
        self.at_work = self.most_at_work = 0

    def ran(self, call: Callable[..., Any], *args: Any) -> Any:
        """What the call returns. Counts how many run at once; threads of the pool would not tell,
        since the next call can start before the thread of the last one is idle.
        """
        with self.counting:
            self.at_work += 1
            self.most_at_work = max(self.most_at_work, self.at_work)
        try:
            return call(*args)
        finally:
            with self.counting:
                self.at_work -= 1

    def opened(self, server: Slapd | None = None, **more: Any) -> Any:
        """The source, asking as the manager unless said otherwise."""
        told = {
            "url": (server or self.server).url,
            "base_dn": BASE,
            "bind_dn": MANAGER,
            "bind_password": MANAGER_PASSWORD,
        }
        limits = {name: more.pop(name) for name in ("step", "patience") if name in more}
        file = more.pop("ca_certificates", None)
        people = open(LdapSettings(**{**told, **more}), file, self.world, reactor, **limits)
        self.addCleanup(self.until_idle, people)
        return people

    async def until_idle(self, people: Any) -> None:
        """No connection is open for it, and no thread at work."""
        from pypid.access.ldap.source import (
            AT_ONCE,  # needs python-ldap, without which these tests skip
        )

        deadline = reactor.seconds() + 3
        while people._turns.tokens < AT_ONCE:
            self.assertLess(reactor.seconds(), deadline)
            await deferLater(reactor, 0.01)

    async def away(self, people: People, user: str = "alice") -> list[str]:
        """It cannot be asked, neither with a password nor without; what the log is told."""
        with logged() as lines:
            for asked in (people.check(Credential(user, "Xyzzy-secret")), people.find(user)):
                try:
                    found = await asked
                except (PeopleUnknown, Unauthenticated) as error:
                    self.assertIsInstance(error, PeopleUnknown)
                    self.assertNotIn("Xyzzy", str(error) + repr(error))
                else:
                    self.fail(f"{found} was found")
        self.assertNotIn("Xyzzy", "".join(lines))
        return lines


@contextmanager
def logged() -> Iterator[list[str]]:
    """The lines that the log is told meanwhile."""
    lines: list[str] = []
    with capturedLogs() as events:
        yield lines
    lines.extend(
        _text(event) for event in events if str(event.get("log_namespace")).startswith("pypid")
    )


def _text(event: LogEvent) -> str:
    return formatEvent(event) + str(event.get("log_failure", ""))


class LdapContractTests(Asking, PeopleContract, TestCase):
    """A directory fulfils the contract."""

    async def make_people(
        self, users: Mapping[str, str], groups: Mapping[str, frozenset[str]], admin: str
    ) -> People:
        people = [person(name, password) for name, password in users.items()]
        teams = [group(name, *map(dn_of, sorted(members))) for name, members in groups.items()]
        # no group can be called so: whose members are admins says nothing more about them
        self.server.fill([*people, *teams, group("Index Admins", dn_of(admin))])
        return self.opened(admin_group="Index Admins", user_filter="", group_filter="")  # type: ignore[no-any-return]


class EncryptionTests(Asking, TestCase):
    """Passwords are told to nobody but the directory."""

    def setUp(self) -> None:
        super().setUp()
        self.server.fill([person("alice", "wonder land")])

    async def test_encrypted(self) -> None:
        """With ldaps:// and with StartTLS, where the certificate is of an authority that the
        configuration names.
        """
        for url in (self.server.secure_url, self.server.url):
            people = self.opened(url=url, ca_certificates=self.server.certificates)
            for _ in range(2):
                self.assertEqual(
                    await people.check(Credential("alice", "wonder land")), Identity("alice")
                )
                with self.assertRaises(Unauthenticated):
                    await people.check(Credential("alice", "x"))

    async def test_unknown_authority(self) -> None:
        """A certificate of an authority that nobody named is not believed."""
        other = Path(self.mktemp())
        other.mkdir(parents=True)
        for url, certificates in (
            (self.server.secure_url, None),
            (self.server.secure_url, Authority().pem(other)),
            (self.server.url, Authority().pem(other)),
        ):
            lines = await self.away(self.opened(url=url, ca_certificates=certificates))
            self.assertIn(
                "its certificate has expired, or is of an authority that is not known",
                "".join(lines),
            )

    async def test_other_host(self) -> None:
        """A certificate for another host is not believed."""
        url = f"ldaps://127.0.0.2:{self.server.secure_port}"
        lines = await self.away(self.opened(url=url, ca_certificates=self.server.certificates))
        self.assertIn("its certificate is for another host", "".join(lines))

    async def test_no_encryption_no_password(self) -> None:
        """Where StartTLS is refused, answered with nonsense, or with more than an answer, nothing
        further is said in clear.
        """
        no = bytes.fromhex("300c02010178070a013504000400")
        for answer in (
            no,
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            YES + b"0",
            b"\x30\x84\xff\xff\xff\xff",
            b"",
        ):
            heard: list[bytes] = []

            def serve(
                connection: socket.socket, answer: bytes = answer, heard: list[bytes] = heard
            ) -> None:
                heard.append(connection.recv(4096))
                connection.sendall(answer)
                connection.shutdown(socket.SHUT_WR)
                while more := connection.recv(4096):
                    heard.append(more)

            with serving(serve) as port:
                url = f"ldap://127.0.0.1:{port}"
                await self.away(
                    self.opened(
                        url=url, ca_certificates=self.server.certificates, step=1.0, patience=2.0
                    )
                )
            self.assertTrue(heard)
            for said in heard:
                self.assertEqual(
                    said, bytes.fromhex("301d02010177188016") + b"1.3.6.1.4.1.1466.20037"
                )

    async def test_bad_certificates(self) -> None:
        """Certificates that cannot be read stop the start."""
        empty = Path(self.mktemp())
        empty.write_text("none here")
        for file in (empty, empty.with_name("missing.pem")):
            with self.assertRaisesRegex(CannotStart, "ca_certificates"):
                self.opened(ca_certificates=file)


class PasswordTests(Asking, TestCase):
    """What proves who somebody is."""

    async def test_bind_of_nobody(self) -> None:
        """This directory says yes to a name without a password; here that is nobody's, and the
        directory is not asked.
        """
        self.server.fill([person("alice", "wonder land"), person("locked")])
        self.assertTrue(self.server.takes(dn_of("alice"), ""))
        self.assertFalse(self.server.takes(dn_of("alice"), "x"))
        people = self.opened()
        for user in ("alice", "locked"):
            for password in ("", "\0", "\0x", "x", " "):
                with self.assertRaises(Unauthenticated):
                    await people.check(Credential(user, password))

    async def test_own_password_is_wrong(self) -> None:
        """Where bind_password is wrong, nobody's own password is: that is said in the log, without
        the password.
        """
        self.server.fill([person("alice", "Xyzzy-secret")])
        lines = await self.away(self.opened(bind_password="Xyzzy-wrong"))
        self.assertIn("is unavailable, so its users cannot log in: bind_dn", "".join(lines))
        self.assertEqual(len(lines), 1, lines)


class NameTests(Asking, TestCase):
    """One entry, one name, one person."""

    async def test_several_entries(self) -> None:
        """A name of two entries, or twenty, is nobody's who may log in: also where they are spelled
        differently.
        """
        more = [person(f"many{n}", "x", uid=["many", f"many{n}"]) for n in range(MOST_GIVEN + 5)]
        self.server.fill(
            [
                person("twin", "one"),
                person("twin", "two", f"uid=twin,{GROUPS}"),
                person("Carl", "one"),
                person("carl", "two", f"uid=carl,{GROUPS}"),
                *more,
            ]
        )
        for settings in ({}, {"bind_dn": None, "bind_password": None}):
            people = self.opened(**settings)
            for user, password in (
                ("twin", "one"),
                ("twin", "two"),
                ("Carl", "one"),
                ("carl", "two"),
                ("many", "x"),
            ):
                with logged() as lines, self.assertRaises(Unauthenticated):
                    await people.check(Credential(user, password))
                self.assertIsNone(await people.find(user))
            self.assertIn("'many' is the name of several entries", "".join(lines))

    async def test_other_attribute(self) -> None:
        """The name is the attribute that the filter compares it with, and a filter leaves out who
        is disabled.
        """
        self.server.fill(
            [
                person("alice", "x", mail=["alice@example.org"]),
                person("bob", "x", mail=["bob@example.org"], employeeType=["disabled"]),
            ]
        )
        people = self.opened(user_filter="(&(MAIL={user})(!(employeeType=disabled)))")
        self.assertEqual(
            await people.check(Credential("alice@example.org", "x")), Identity("alice@example.org")
        )
        for user in ("alice", "Alice@example.org", "alice@EXAMPLE.ORG", "bob@example.org"):
            self.assertIsNone(await people.check(Credential(user, "x")), user)
            self.assertIsNone(await people.find(user), user)

    async def test_odd_names(self) -> None:
        """Names with every character that a filter or a distinguished name gives a meaning to are
        just names.
        """
        names = ["a*b", "a(b)c", "a\\b", 'a"b', "b+c", "#a", "<a>", "ä€𝄞", "a{dn}", "{user}"]
        quoted = [
            "a*b",
            "a(b)c",
            "a\\5Cb",
            "a\\22b",
            "b\\2Bc",
            "\\23a",
            "\\3Ca\\3E",
            "ä€𝄞",
            "a{dn}",
            "{user}",
        ]
        entries = [
            person(name, f"pw {name}", dn_of(dn)) for name, dn in zip(names, quoted, strict=True)
        ]
        self.server.fill([*entries, *(group(f"g{n}", dn_of(dn)) for n, dn in enumerate(quoted))])
        people = self.opened()
        for n, name in enumerate(names):
            self.assertEqual(
                await people.check(Credential(name, f"pw {name}")),
                Identity(name, frozenset({f"g{n}"})),
                name,
            )


class GroupTests(Asking, TestCase):
    """Groups, groups in groups, and the one whose members are admins."""

    async def find(self, people: People, user: str = "alice") -> Identity:
        found = await people.find(user)
        assert found is not None
        return found

    async def test_kinds(self) -> None:
        """Members are named by their entries, in two kinds of groups, or by their names, in a
        third.
        """
        self.server.fill(
            [
                person("alice"),
                group("one", dn_of("alice")),
                (
                    f"cn=two,{GROUPS}",
                    {
                        "objectClass": ["groupOfUniqueNames"],
                        "cn": ["two"],
                        "uniqueMember": [dn_of("alice")],
                    },
                ),
                (
                    f"cn=three,{GROUPS}",
                    {
                        "objectClass": ["posixGroup"],
                        "cn": ["three"],
                        "gidNumber": ["7"],
                        "memberUid": ["alice"],
                    },
                ),
                group("four", dn_of("bob")),
            ]
        )
        self.assertEqual(
            (await self.find(self.opened())).groups, frozenset({"one", "two", "three"})
        )
        self.assertEqual(
            (await self.find(self.opened(group_filter="(memberUid={user})"))).groups,
            frozenset({"three"}),
        )
        self.assertEqual((await self.find(self.opened(group_base_dn=PEOPLE))).groups, frozenset())

    async def test_admins(self) -> None:
        """Admins are the members of the group of this name, or of this entry however it is spelled;
        also by another group.
        """
        self.server.fill(
            [
                person("alice"),
                person("bob"),
                group("Site Admins", f"cn=ops,{GROUPS}"),
                group("ops", dn_of("alice")),
                group("Site Admins", dn_of("bob"), dn=f"cn=Site Admins,{PEOPLE}"),
            ]
        )
        for admin_group in (f"cn=Site Admins,{GROUPS}", f"CN = site  admins , {GROUPS.upper()}"):
            people = self.opened(admin_group=admin_group)
            self.assertEqual(
                await people.find("alice"), Identity("alice", frozenset({"ops"}), True)
            )
            self.assertEqual(await people.find("bob"), Identity("bob", frozenset(), False))
        people = self.opened(admin_group="Site Admins", group_base_dn=GROUPS)
        self.assertEqual(
            [(await self.find(people, user)).admin for user in ("alice", "bob")], [True, False]
        )
        for other in ("site admins", "Site", f"cn=ops,{PEOPLE}", None):
            self.assertFalse((await self.find(self.opened(admin_group=other))).admin, other)
        with self.assertRaisesRegex(CannotStart, "admin_group"):
            self.opened(admin_group="cn=a,,b")

    async def test_left_out(self) -> None:
        """A group that could not be written in a rule is left out, and the log says so, once."""
        names = ["Domain Users", "a:b", "everyone", "a=b", "good"]
        self.server.fill(
            [
                person("alice"),
                *(group(name, dn_of("alice"), dn=f"cn={_quoted(name)},{GROUPS}") for name in names),
            ]
        )
        people = self.opened()
        with logged() as lines:
            for _ in range(3):
                self.assertEqual(await people.find("alice"), Identity("alice", frozenset({"good"})))
        self.assertEqual(len(lines), 4, lines)
        self.assertIn("'Domain Users'", "".join(lines))


def _quoted(name: str) -> str:
    return name.replace("=", "\\3D")


class TroubleTests(Asking, TestCase):
    """Directories that do not answer, or not what was asked."""

    async def test_restart(self) -> None:
        """While the directory is away nobody is anybody; when it is back, everybody is, at once,
        and the log said so once.
        """
        with slapd() as server:
            people = self.opened(server)
            with server.runs():
                server.fill([person("alice", "wonder land")])
                self.assertEqual(
                    await people.check(Credential("alice", "wonder land")), Identity("alice")
                )
            lines = await self.away(people)
            lines += await self.away(people)
            self.assertEqual(len(lines), 1, lines)
            self.assertIn("it refuses connections", lines[0])
            with server.runs(), logged() as back:
                self.assertEqual(
                    await people.check(Credential("alice", "wonder land")), Identity("alice")
                )
                self.assertEqual(await people.find("alice"), Identity("alice"))
            self.assertEqual(back, ["The LDAP directory is available again"])

    async def test_silence(self) -> None:
        """Whatever the directory keeps silent about, or tells byte by byte, waiting ends in time;
        and so does the thread.
        """
        with (
            silent(b"") as mute,
            silent(YES) as halfway,
            silent(b"\x30\x84\x00\x0f\xff\xff", b"\x02") as slow,
        ):
            asked = []
            for url, certificates in (
                (f"ldap://127.0.0.1:{mute}", None),
                (f"ldap://127.0.0.1:{mute}", self.server.certificates),
                (f"ldaps://127.0.0.1:{mute}", self.server.certificates),
                (f"ldap://127.0.0.1:{halfway}", self.server.certificates),
                (f"ldap://127.0.0.1:{slow}", None),
            ):
                asked.append(start(self.in_time(url, certificates)))
            await gatherResults(asked)

    async def in_time(self, url: str, certificates: Path | None) -> None:
        people = self.opened(url=url, ca_certificates=certificates, step=0.6, patience=0.8)
        began = reactor.seconds()
        for asked in (people.check(Credential("alice", "wonder land")), people.find("alice")):
            with self.assertRaises(PeopleUnknown):
                await asked
        self.assertLess(reactor.seconds() - began, 2.5, url)
        await self.until_idle(people)

    async def test_many_wait(self) -> None:
        """Four ask at once, sixty-four wait, everybody else is told to come again; then all is free
        again.
        """
        self.server.fill([person("alice", "wonder land")])
        with silent(b"") as mute:
            people = self.opened(url=f"ldap://127.0.0.1:{mute}", step=0.5, patience=0.6)
            asked = [start(people.find("alice")) for _ in range(80)]
            self.assertEqual(len(self.pool.threads), 0)
            results: list[Any] = await gatherResults(
                [each.addErrback(lambda failure: failure.type) for each in asked]
            )
            self.assertEqual([results.count(kind) for kind in (PeopleUnknown, Busy)], [68, 12])
            gone = [start(people.find("alice")) for _ in range(10)]
            for each in gone:
                each.cancel()
                self.failureResultOf(each, CancelledError)
            await self.until_idle(people)
            self.assertIn(self.most_at_work, range(1, 5))
            self.assertEqual(self.at_work, 0)

    async def test_wrong_base(self) -> None:
        """To search below an entry that is not there is a mistake, which the log names: not a
        directory without people.
        """
        self.server.fill([person("alice", "wonder land")])
        nowhere = f"ou=nowhere,{BASE}"
        for people in (self.opened(base_dn=nowhere), self.opened(group_base_dn=nowhere)):
            lines = await self.away(people)
            self.assertIn("there is no 'ou=nowhere,dc=example,dc=org'", "".join(lines))


@contextmanager
def serving(serve: Callable[[socket.socket], None]) -> Iterator[int]:
    """The port of a server that does so with each connection."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def one(connection: socket.socket) -> None:
            with connection, contextlib.suppress(OSError):
                serve(connection)

        def accept() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=one, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)


@contextmanager
def silent(first: bytes, again: bytes = b"") -> Iterator[int]:
    """The port of a server that listens, says `first`, and then nothing, or `again` ten times a
    second.
    """
    over = threading.Event()

    def serve(connection: socket.socket) -> None:
        connection.recv(4096)
        connection.sendall(first)
        while not over.wait(0.1):
            connection.sendall(again)

    with serving(serve) as port:
        try:
            yield port
        finally:
            over.set()
