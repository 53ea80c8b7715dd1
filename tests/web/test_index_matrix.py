"""Each route below each index, for each identity: who is let in, and what the answers contain.

The routes come from the route table; who may see which project in which index is written by hand.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import cast

from attrs import evolve

from pypid.blobs.signed_urls import RESTRICTED_BUFFER, RESTRICTED_LIFETIME, Links
from pypid.core.permissions import EVERYONE, Identity
from pypid.daemon.loopback import OneTime, seen_by
from pypid.ports import Blobs
from pypid.web.app.app import IndexApps
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.index.named import set_index
from tests.support.worlds import BEGINNING
from tests.web.advised import advise, advisory
from tests.web.full_app import Answer, Connection, J, Pypid, WholeCase, basic, spelled
from tests.web.index_cases import CUT, DEFAULT, INDEXES, LAB, OF, PAST, PRIVATE, SOLO, TEAM, indexed
from tests.web.installers.test_collect import Scripted
from tests.web.memory_upstream import Elsewhere
from tests.web.rights_cases import ANYBODY, IS, OPEN, OWN, PLAIN, UNKNOWN, Who, ask, file_of
from tests.web.route_rights import CLASSES
from tests.web.routes import ALL_ROUTES
from tests.web.test_hidden import Signer
from tests.web.test_matrix import COLUMNS, fits, target_of, without

ALL, NONE = "..........", "4444444444"
MEMBERS, OWNERS = "1333....33", "13......33"
"""Who may read: members of the team, and users with a right on the project."""
INSIDE = "1333.....3"
"""Who may read the lists of the team's index: also a token of a member, for other projects."""
IN_BASE = "4444....44"
"""In an index that everyone may read: projects of a base that members of the team may read."""

READ: dict[str, dict[str, str]] = {
    # by index and project, in the columns of the permission matrix
    DEFAULT: {PLAIN: ALL, OWN: OWNERS, OF[TEAM]: NONE, OF[LAB]: NONE, OF[SOLO]: NONE},
    TEAM: {PLAIN: MEMBERS, OWN: MEMBERS, OF[TEAM]: MEMBERS, OF[LAB]: "1333444433"},
    LAB: {PLAIN: ALL, OWN: OWNERS, OF[TEAM]: IN_BASE, OF[LAB]: ALL, OF[SOLO]: NONE},
    # the rules of a project count although it is not there
    SOLO: {PLAIN: NONE, OWN: "1344444433", OF[TEAM]: NONE, OF[SOLO]: ALL},
    CUT: {PLAIN: NONE, OWN: OWNERS, OF[CUT]: ALL, OF[LAB]: ALL, OF[TEAM]: IN_BASE},
}
WRITE: dict[str, dict[str, str]] = {
    # who may yank: an inherited project cannot be changed here
    DEFAULT: {PLAIN: "1333...33.", OF[TEAM]: "1333444334"},
    TEAM: {OF[TEAM]: "1333...333", PLAIN: "1333444333"},
    LAB: {OF[LAB]: "1333...33.", OF[TEAM]: "1333444334", PLAIN: "1333444334"},
    SOLO: {OF[SOLO]: "1333...33.", PLAIN: "1333444334"},
    CUT: {OF[CUT]: "1333...33.", OF[LAB]: "1333444334"},
}
DELETE: dict[str, dict[str, str]] = {
    DEFAULT: {PLAIN: "13333..333", OF[TEAM]: "1333344333"},
    TEAM: {OF[TEAM]: "13333..333", PLAIN: "1333344333"},
    LAB: {OF[LAB]: "13333..333", PLAIN: "1333344333"},
    SOLO: {OF[SOLO]: "13333..333", PLAIN: "1333344333"},
    # volatile: users who may publish may delete, a trusted publisher only publishes
    CUT: {OF[CUT]: "1333...333", OF[LAB]: "1333444333"},
}
TABLES = {"read": READ, "write": WRITE, "delete": DELETE}
READERS = {
    (index, project): {who for who, letter in zip(COLUMNS, row, strict=True) if letter == "."}
    for index, rows in READ.items()
    for project, row in rows.items()
}
"""Who may read a project in an index; a project that is not listed is not there."""
EXACT = (
    "/simple/<project>/",
    "/local/<project>/",
    "/packages/<project>/<filename>",
    "/api/projects/<project>",
    "/project/<project>/",
    "/pypi/<project>/json",
    "/rss/project/<project>/releases.xml",
    "/api/projects/<project>/files/<filename>/yank",
    "/api/projects/<project>/releases/<version>",
)
"""The routes whose answers are compared with the letters exactly; for others, whether a client is
let in.
"""
EXPLAINING = ("/api/why/", "/project/<project>/-/why")
"""These tell users who may publish a name whether another index has it."""
WENDY = Identity("wendy", groups=frozenset({"writers"}))


def unpacked(answer: Answer) -> str:
    """All that a client gets."""
    body = gzip.decompress(answer.body) if answer["content-encoding"] == "gzip" else answer.body
    head = "\n".join(f"{name}: {value}" for name, value in answer.head)
    return f"{answer.status} {answer.reason}\n{head}\n{body.decode('latin-1')}"


def anonymized(answer: Answer, project: str) -> tuple[object, ...]:
    """The answer, where the name of the project stands for any, also in file names."""
    head, body = without(answer, project)
    assert isinstance(body, bytes)
    return head, body.replace(project.replace("-", "_").encode(), b"x")


def comparable(answer: Answer, index: str) -> str:
    """The answer, where the name of the index stands for any. A reason phrase may end in it."""
    return re.sub(
        r"(?im)^(date|x-request-id): .*$|request [0-9a-z-]+|\w+\.\.\.", "", unpacked(answer)
    ).replace(index, "index")


def secrets_of(project: str) -> set[str]:
    """What no answer may contain for a client that may not read the project."""
    filename, data = file_of(project)
    return {project, project.replace("-", "_"), filename, sha256(data).hexdigest()}


class IndexMatrixTests(WholeCase):
    """Indexes with rights of their own, a private project in each, and all identities."""

    def setUp(self) -> None:
        self.pypid = self.made()

    def made(self) -> Pypid:
        """Return a new pypid with all the indexes and their projects."""
        return indexed(self, OPEN)

    def request(
        self, who: Who, index: str, method: str, target: str, *headers: tuple[str, str]
    ) -> Answer:
        """Return the answer to this client."""
        body = b"{}" if method in ("PUT", "POST", "PATCH", "DELETE") else None
        prefix = f"/{index}" if index else ""
        return ask(self.pypid, method, f"{prefix}{target}", *who.headers, *headers, body=body)

    def each(self) -> Iterator[tuple[str, str, str]]:
        """Yield each route and method that an index has, with its class."""
        for route in ALL_ROUTES:
            if route.below_index:
                for method in sorted(route.methods - {"HEAD"}):
                    yield route.path, method, CLASSES[route.path, method]

    def test_tables(self) -> None:
        """Each private project is in the tables of the index that has it, and each row has a letter
        for each identity.
        """
        self.assertEqual(tuple(who.name for who in ANYBODY), COLUMNS)
        for table in TABLES.values():
            self.assertEqual(set(table), set(INDEXES))
            for index, rows in table.items():
                self.assertEqual({len(row) for row in rows.values()}, {len(COLUMNS)})
                if index:
                    self.assertIn(OF[index], rows)

    def test_letters(self) -> None:
        """Each identity is let in, refused, or finds no project, as the tables say."""
        wrong, count = [], 0
        for path, method, name in self.each():
            if name not in TABLES or "<project>" not in path:
                continue
            for index, rows in TABLES[name].items():
                for project, row in rows.items():
                    for who, letter in zip(ANYBODY, row, strict=True):
                        answer = self.request(who, index, method, target_of(path, project))
                        count += 1
                        expected = letter if letter in "13" or path in EXACT else "*"
                        if not fits(answer, expected):
                            wrong.append(
                                f"/{index} {method} {path}, {project}, {who.name}: "
                                f"{answer.status} and not {letter!r}"
                            )
                        if method not in ("GET", "OPTIONS") and answer.status < 400:
                            self.pypid = self.made()  # something may have changed
        self.assertEqual(wrong, [], "\n".join(["", f"{len(wrong)} of {count}", *wrong]))

    def test_walls(self) -> None:
        """An index with readers of its own lets no others in, by any route that reads."""
        for path, method, name in self.each():
            if name == "read" and "<project>" not in path:
                for who, letter in zip(ANYBODY, INSIDE, strict=True):
                    answer = self.request(who, TEAM, method, target_of(path, PLAIN))
                    expected = "*" if letter == "." else letter
                    self.assertTrue(fits(answer, expected), (path, method, who.name, answer.status))

    def test_expired(self) -> None:
        """An index that has expired answers 410 to each route, and shows nothing."""
        for path, method, _ in self.each():
            for who in ANYBODY:
                answer = self.request(who, PAST, method, target_of(path, OF[PAST]))
                self.assertEqual(answer.status, 410, (path, method, who.name))
                self.assertNotIn(OF[PAST], unpacked(answer), (path, method, who.name))

    def test_expiry_is_unknown_to_those_who_may_not_read(self) -> None:
        """They get what an index of the same readers answers that has not expired."""
        gone, indexes = "gone", self.pypid.indexes
        self.have(indexes.create(evolve(indexes.settings[TEAM], name=gone)))
        self.have(set_index(indexes, evolve(indexes.settings[gone], expires=BEGINNING)))
        for path, method, _ in self.each():
            target = target_of(path, UNKNOWN)
            for who, letter in zip(ANYBODY, INSIDE, strict=True):
                answer = self.request(who, gone, method, target)
                if letter == ".":
                    self.assertEqual(answer.status, 410, (path, method, who.name))
                    continue
                expected = self.request(who, TEAM, method, target)
                self.assertEqual(
                    comparable(answer, gone), comparable(expected, TEAM), (path, method, who.name)
                )

    def is_read_by(self, who: Who, project: str) -> bool:
        """Whether the identity may read the project in any index."""
        return any(who.name in READERS.get((index, project), ()) for index in INDEXES)

    def hidden_from(self, who: Who, index: str) -> set[str]:
        """Return the projects that the identity may not read in the index."""
        return {
            project
            for project in (*PRIVATE, OWN)
            if who.name not in READERS.get((index, project), ())
        }

    def test_contents(self) -> None:
        """No answer about another project, by any route of any index, contains what its client may
        not read there: no name, file name or digest. Others may read the same as one of
        those who are asked.
        """
        names = ("anonymous", "bob", "rita", "ada", "other's token", "publisher")
        asked = [IS[name] for name in names]
        reading = {who.name: [self.hidden_from(who, index) for index in INDEXES] for who in ANYBODY}
        for who in ANYBODY:
            self.assertIn(reading[who.name], [reading[each.name] for each in asked], who.name)
        for who in asked:
            for index in INDEXES:
                hidden = self.hidden_from(who, index)
                secrets = {secret for project in hidden for secret in secrets_of(project)}
                for place, answer in self.answers(who, index):
                    shown = unpacked(answer)
                    found = [secret for secret in secrets if secret in shown]
                    self.assertEqual(found, [], (who.name, index, place))

    def answers(self, who: Who, index: str) -> Iterator[tuple[str, Answer]]:
        """Yield the answers of all routes about a project that all may read, about one that there
        is not, and about all projects.
        """
        for path, method, _ in self.each():
            if method not in ("GET", "OPTIONS"):
                continue
            for project in (PLAIN, UNKNOWN) if "<project>" in path else (PLAIN,):
                target = target_of(path, project)
                yield target, self.request(who, index, method, target)
                if "<project>" not in path:
                    yield f"{target}, JSON", self.request(who, index, method, target, ("Accept", J))
        search = "/api/search?q=acme"
        yield search, self.request(who, index, "GET", search)

    def test_readers_find_it(self) -> None:
        """A user who may read a project finds it by all lists of the index, and by the search and
        news of the index that has it: `test_contents` could fail.
        """
        for (index, project), readers in READERS.items():
            if project in PRIVATE and "ada" in readers:
                found = {
                    place
                    for place, answer in self.answers(IS["ada"], index)
                    if project in unpacked(answer)
                }
                expected = {"/simple/", "/local/", "/api/projects"}
                if project == OF.get(index, OWN):
                    expected |= {"/search", "/api/search?q=acme", "/api/news"}
                    expected |= {"/rss/updates.xml", "/rss/packages.xml"}
                self.assertEqual(expected - found, set(), (index, project))

    def test_projects_of_other_indexes_are_unknown(self) -> None:
        """The answer about a project of another index is that about a name that does not exist, to
        the byte, and no upstream is asked for it.
        """
        upstream = self.pypid.index.source.upstream
        assert isinstance(upstream, Elsewhere)
        upstream.heard.clear()
        for path, method, name in self.each():
            if "<project>" not in path or name in ("write", "delete"):
                continue
            for index in INDEXES:
                for who in ANYBODY:
                    others = [
                        each
                        for each in PRIVATE
                        if READ[index].get(each, NONE)[COLUMNS.index(who.name)] == "4"
                    ]
                    if path.startswith(EXPLAINING):
                        # users are told which index has it, if they may read it there
                        others = [each for each in others if not self.is_read_by(who, each)]
                    if path.startswith(EXPLAINING) and who.name not in ("anonymous", "bob"):
                        continue
                    answers = {
                        (answer.status, *anonymized(answer, project))
                        for project in (*others, UNKNOWN)
                        for answer in [self.request(who, index, method, target_of(path, project))]
                    }
                    self.assertEqual(len(answers), 1, (who.name, index, method, path, answers))
        self.assertEqual(set(upstream.heard) - {UNKNOWN}, set())

    def test_files_of_others(self) -> None:
        """A file is judged by the index under which it is requested, whatever its path says."""
        filename, data = file_of(OF[TEAM])
        for index in INDEXES:
            for target in (
                f"/packages/{PLAIN}/{filename}",
                f"/packages/{OF[TEAM]}/{filename}",
                f"/local/{OF[TEAM]}/{filename}",
                f"/packages/.pypid/index/{TEAM}/{OF[TEAM]}/{filename}",
                f"/packages/{TEAM}/{OF[TEAM]}/{filename}",
                f"/{TEAM}/packages/{OF[TEAM]}/{filename}",
                f"/packages/..%2f..%2f{TEAM}/packages/{OF[TEAM]}/{filename}",
            ):
                for name in ("anonymous", "bob", "rita", "other's token", "publisher"):
                    answer = self.request(IS[name], index, "GET", target)
                    self.assertGreaterEqual(answer.status, 400, (name, index, target))
                    self.assertLess(answer.status, 500, (name, index, target))
                    self.assertNotIn(data, answer.body)

    def test_links(self) -> None:
        """A project is public if everyone may read it in the requested index, and in the index that
        has it: else its signed URLs end soon and are never written down, and its page says that
        installing needs a login.
        """
        for index in INDEXES:
            for project in (each for each in READ[index] if "wendy" in READERS[index, each]):
                restricted, links = self.signing()
                target = f"/packages/{project}/{file_of(project)[0]}"
                self.assertEqual(self.request(IS["wendy"], index, "GET", target).status, 302)
                is_public = "anonymous" in READERS[index, project]
                found = len(links.good()), len(restricted.good())
                self.assertEqual(found, (1, 0) if is_public else (0, 1), (index, project))
                page = self.request(IS["wendy"], index, "GET", f"/project/{project}/")
                self.assertEqual(
                    "project is not public" in page.text, not is_public, (index, project)
                )

    def signing(self) -> tuple[Links, Links]:
        """Let the storage sign URLs; return those of restricted files, and the others."""
        blobs = cast(Blobs, Signer(self.pypid))
        restricted = Links(blobs, self.pypid.world, RESTRICTED_LIFETIME, RESTRICTED_BUFFER)
        links = Links(
            blobs, self.pypid.world, timedelta(days=1), RESTRICTED_BUFFER, restricted=restricted
        )
        for each in (self.pypid.index, *map(self.pypid.indexes.get, self.pypid.indexes.settings)):
            assert each is not None
            each.links, each.reader = links, evolve(each.reader, links=links)
        return restricted, links


class CollectingTests(WholeCase):
    """Collections below an index (``POST /requirements.txt``)."""

    def setUp(self) -> None:
        self.pypid = indexed(self, evolve(OPEN, collect=EVERYONE))

    def test_private_names_are_unknown(self) -> None:
        """A user learns nothing of a project that the user may not read in the index: the answer is
        that about a name that does not exist.
        """
        self.pypid.app.resolvers = Scripted({})
        for index in INDEXES:
            for who in ("bob", "rita") if index != TEAM else ():
                answers = {
                    self.collect(who, index, project).text.replace(project, "x")
                    for project in (*self.unreadable(who, index), UNKNOWN)
                }
                self.assertEqual(len(answers), 1, (who, index, answers))
        answer = self.collect("wendy", LAB, OF[TEAM])
        self.assertNotIn("There is no project", answer.text)

    def unreadable(self, who: str, index: str) -> list[str]:
        """Return the private projects that the user may not read there."""
        return [name for name in PRIVATE if who not in READERS.get((index, name), ())]

    def collect(self, who: str, index: str, project: str) -> Answer:
        """Return the answer to a collection of the project."""
        target = f"/{index}/requirements.txt" if index else "/requirements.txt"
        body = json.dumps({"requirements": project}).encode()
        kind = ("Content-Type", "application/json")
        return ask(self.pypid, "POST", target, *IS[who].headers, kind, body=body)

    def test_the_resolver_sees_what_the_user_may_read(self) -> None:
        """The resolver of a collection does not see projects of a base that the user may not
        read there: a project that they may read might require them.
        """
        for index in INDEXES:
            app = IndexApps(self.pypid.app).of(index) if index else self.pypid.app
            assert app is not None
            for who, identity in (("bob", Identity("bob")), ("wendy", WENDY)):
                site = Site(
                    resource(seen_by(app, OneTime("password", identity))),
                    reactor=self.pypid.clock,
                    hosts=HostPolicy(("*",)),
                )
                site.startFactory()
                for project in PRIVATE:
                    connection = Connection(site)
                    connection.send(
                        spelled("GET", f"/simple/{project}/", basic("collecting", "password"))
                    )
                    answer = connection.answer("GET")
                    assert answer is not None
                    is_read = who in READERS.get((index, project), ())
                    self.assertEqual(answer.status == 200, is_read, (index, who, project))


class PrivateAdvisoryTests(WholeCase):
    """The company's own advisories of projects that some may read in some indexes."""

    def setUp(self) -> None:
        own = [advisory(f"PYPID-{name}", (name, "0", None)) for name in (*PRIVATE, PLAIN)]
        own.append(advisory("PYPID-shared", (PLAIN, "0", None), (OF[TEAM], "0", None)))
        folder = Path(self.mktemp())
        self.pypid = indexed(self, OPEN, lambda pypid: advise(pypid, folder, [], own))

    def test_advisories_are_for_those_who_may_read_the_project_in_the_index(self) -> None:
        """No other answer names the project: no query for it, no record, no page of another project
        that the same advisory is about. Administrators see all advisories.
        """
        for index in INDEXES:
            for who in (each for each in ANYBODY if each.name != "ada"):
                for project in PRIVATE:
                    found = project in self.shown(who, index, project)
                    readers = READERS.get((index, project), ())
                    self.assertEqual(found, who.name in readers, (who.name, index, project))
                    for place in ("/osv/v1/vulns", "/advisories"):
                        answer = self.request(who, index, "GET", f"{place}/PYPID-{project}")
                        self.assertEqual(answer.status == 200, found, (who.name, index, project))
                for path in (
                    f"/project/{PLAIN}/",
                    f"/pypi/{PLAIN}/json",
                    "/osv/v1/vulns/PYPID-shared",
                    "/advisories/PYPID-shared",
                    "/api/advisories",
                    "/advisories",
                ):
                    text = unpacked(self.request(who, index, "GET", path))
                    if who.name not in READERS.get((index, OF[TEAM]), ()):
                        self.assertNotIn(OF[TEAM], text, (who.name, index, path))
                        self.assertNotIn("Summary of PYPID-shared", text, (who.name, index, path))

    def shown(self, who: Who, index: str, project: str) -> str:
        """Return the answer to a query for the advisories of a project."""
        package = {"package": {"name": project, "ecosystem": "PyPI"}, "version": "1.0"}
        return unpacked(self.request(who, index, "POST", "/osv/v1/query", package))

    def request(
        self, who: Who, index: str, method: str, target: str, document: object = None
    ) -> Answer:
        """Return the answer to this client."""
        prefix = f"/{index}" if index else ""
        body = None if document is None else json.dumps(document).encode()
        kind = () if body is None else (("Content-Type", "application/json"),)
        return ask(self.pypid, method, f"{prefix}{target}", *who.headers, *kind, body=body)
