"""What somebody may not read does not exist for them: it is in no list, page, search, header,
redirect or error, by any route.

`OWN` is published here and private, `CLAIMED` is a name of ours of which nothing is published,
`LICENSED` is upstream's and for some only. `PLAIN` and `THEIRS` are for everybody.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Iterator
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from typing import cast

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st

from pypid.access.tokens import new_token
from pypid.blobs.signed_urls import RESTRICTED_BUFFER, RESTRICTED_LIFETIME, Links
from pypid.core.accounts.rights import grants_of, parse_right
from pypid.core.configuration.choices import Mode
from pypid.core.errors import PeopleUnknown
from pypid.core.model import SignedUrl
from pypid.core.packaging.names import project_name
from pypid.core.permissions import ANONYMOUS, EVERYONE, Action, Identity, Rules, Scope, may
from pypid.core.policy import EVERY_NAME
from pypid.ports import Blobs
from pypid.web.http.headers import credential_of
from tests.distributions import sdist, sdist_filename
from tests.support.worlds import BEGINNING
from tests.web.full_app import Answer, H, J, Pypid, WholeCase, basic, spelled, text
from tests.web.installers.test_collect import Scripted, pylock
from tests.web.rights_cases import (
    ANYBODY,
    CLAIMED,
    CLOSED,
    IS,
    LICENSED,
    OPEN,
    OWN,
    PLAIN,
    RIGHTS,
    THEIRS,
    UNKNOWN,
    Who,
    ask,
    crowded,
    elsewhere,
    file_of,
    register,
    replace_rules,
)
from tests.web.routes import ALL_ROUTES
from tests.web.test_matrix import target_of

HIDDEN = (OWN, CLAIMED, LICENSED)
OUTSIDERS = ("anonymous", "bob", "other's token", "publisher")
"""They may read none of `HIDDEN`."""
ACCEPTS = ("", J, H, "text/html", "application/json")
SERIAL = 7_650_000
SPELLINGS = (
    "acme-owned",
    "Acme_Owned",
    "ACME.OWNED",
    "acme-_.-owned",
    "%61cme-owned",
    "acme%2Downed",
    "acme%2eowned",
    "%41CME%5f%2DOWNED",
)


def plain(answer: Answer) -> str:
    """All that a client is given, unpacked."""
    body = gzip.decompress(answer.body) if answer["content-encoding"] == "gzip" else answer.body
    head = "\n".join(f"{name}: {value}" for name, value in answer.head)
    return f"{answer.status} {answer.reason}\n{head}\n{body.decode('latin-1')}"


class HiddenCase(WholeCase):
    """An index with something for everybody, and something for some."""

    def setUp(self) -> None:
        self.upstream = elsewhere()
        self.pypid = self.index(OPEN)

    def index(self, rules: Rules, mode: Mode = Mode.CACHE) -> Pypid:
        """A new one. What is hidden is published last, so that the catalog's serial is its own."""
        pypid = crowded(Path(self.mktemp()), self.upstream, rules, mode, SERIAL)
        if mode is Mode.CACHE:
            for name in (THEIRS, LICENSED):
                self.assertEqual(
                    self.ask("ada", f"/packages/{name}/{file_of(name)[0]}", pypid=pypid).status, 200
                )
        for name in (PLAIN, OWN):
            self.published(
                self.publish(*file_of(name), user=None, headers=IS["wendy"].headers, pypid=pypid)
            )
        self.have(
            pypid.index.maintenance.reconcile()
        )  # only then is it known what is theirs, and listed
        self.upstream.heard.clear()
        return pypid

    def ask(
        self,
        who: str | Who,
        target: str,
        *headers: tuple[str, str],
        method: str = "GET",
        pypid: Pypid | None = None,
    ) -> Answer:
        """What they are answered."""
        them = IS[who] if isinstance(who, str) else who
        body = b"{}" if method in ("PUT", "POST", "PATCH", "DELETE") else None
        return ask(pypid or self.pypid, method, target, *them.headers, *headers, body=body)

    def secrets(self) -> set[str]:
        """What nobody else may ever see: names, digests, serials."""
        found = set()
        for name in HIDDEN:
            filename, data = file_of(name)
            found |= {
                name,
                name.replace("-", "_"),
                filename,
                sha256(data).hexdigest(),
                sdist_filename(name, "99.0"),
            }
        page = self.ask("ada", f"/simple/{OWN}/", ("Accept", J)).json
        [file] = page["files"]
        found |= {file["core-metadata"]["sha256"], str(page["meta"]["_last-serial"])}
        self.assertIn(str(self.have(self.pypid.catalog.serial())), found)
        return found

    def check(self, answer: Answer, *but: str) -> None:
        """Nothing hidden is in it, but what was said by whoever asked; and it is for no cache that
        others ask.
        """
        said = plain(answer)
        for secret in self.secrets_once - set(but):
            self.assertNotIn(secret, said)
        self.assertNotIn("public", answer["cache-control"] or "")
        self.assertIsNone(answer["access-control-allow-origin"])


def each_target(*projects: str) -> Iterator[tuple[str, str]]:
    """Method and path of every route of the map; for each of the projects, where one
    stands in it.
    """
    for route in ALL_ROUTES:
        for method in sorted(route.methods):
            for project in projects if "<project>" in route.path else ("",):
                yield method, target_of(route.path, project or PLAIN)


class EverywhereTests(HiddenCase):
    """Every route there is."""

    def setUp(self) -> None:
        super().setUp()
        folder = Path(self.mktemp())
        folder.mkdir()
        register(self.pypid, folder)
        self.secrets_once = self.secrets()

    def test_it_would_be_seen(self) -> None:
        """Who may read it finds it by many routes: the tests below could fail."""
        nowhere = {
            CLAIMED,
            CLAIMED.replace("-", "_"),
        }  # what the other index has under names that are ours is nowhere
        finds = {
            secret: 0 for secret in self.secrets_once if not any(name in secret for name in nowhere)
        }
        for name in (CLAIMED, OWN):
            finds.pop(sdist_filename(name, "99.0"), None)
        del finds[sha256(file_of(CLAIMED)[1]).hexdigest()]
        for method, target in each_target(PLAIN, OWN, LICENSED):
            if method == "GET":
                said = plain(self.ask("ada", target))
                finds = {secret: count + (secret in said) for secret, count in finds.items()}
        self.assertGreater(min(finds.values()), 0, finds)
        self.assertGreater(finds[OWN], 10)

    def test_other_names(self) -> None:
        """Nothing of it is in any answer to what is asked of other names, and of the whole index,
        whatever is accepted.
        """
        for who in OUTSIDERS:
            for method, target in each_target(PLAIN, THEIRS, UNKNOWN):
                if (
                    method in ("GET", "HEAD", "OPTIONS") or who != "publisher"
                ):  # who may change some of them
                    self.check(self.ask(who, target, method=method))
        for who in ("anonymous", "other's token"):
            for method, target in each_target(PLAIN):
                if method == "GET" and not target.endswith(".whl"):
                    for accept in ACCEPTS[1:]:
                        self.check(
                            self.ask(who, target, ("Accept", accept), ("Accept-Encoding", "gzip"))
                        )

    def test_its_own_names(self) -> None:
        """Asked for by its name it is refused by every route, and the answer has nothing but the
        name that was said.
        """
        for who in OUTSIDERS:
            for name in HIDDEN:
                for method, target in each_target(name):
                    forms = ("/-/yank", "/-/unyank", "/-/promote")
                    by_post = "/api/package/" in target or target.endswith(forms)
                    may_publish = method in ("PUT", "DELETE") or (method == "POST" and by_post)
                    if name not in target or (who == "publisher" and may_publish):
                        continue
                    answer = self.ask(who, target, method=method)
                    self.assertEqual(
                        answer.status, 401 if who == "anonymous" else 403, (who, method, target)
                    )
                    self.check(answer, name)
                    self.assertIsNone(answer["location"])
                    self.assertIsNone(answer["etag"])

    def test_spellings(self) -> None:
        """Under no spelling of its name is it anything else, not even a redirect to
        the right one.
        """
        for who in ("anonymous", "bob"):
            for spelling in SPELLINGS:
                for method, target in each_target(OWN):
                    if OWN in target and method in ("GET", "HEAD", "OPTIONS"):
                        answer = self.ask(who, target.replace(OWN, spelling), method=method)
                        self.assertEqual(
                            answer.status, 401 if who == "anonymous" else 403, (who, method, target)
                        )
                        self.check(answer, OWN)

    def test_around(self) -> None:
        """It is not reached around the corner: by another project's address, by dots, by slashes of
        any spelling.
        """
        filename = file_of(OWN)[0]
        for target in (
            f"/packages/{PLAIN}/{filename}",
            f"/local/{PLAIN}/{filename}",
            f"/packages/py3/a/{PLAIN}/{filename}",
            f"/packages/any/a/{PLAIN}/{filename}.metadata",
            f"/packages/{PLAIN}/..%2f{OWN}%2f{filename}",
            f"/packages/{PLAIN}/../{OWN}/{filename}",
            f"/packages/{PLAIN}%2f..%2f{OWN}/{filename}",
            f"/packages//{OWN}/{filename}",
            f"/packages/{OWN}%2f{filename}",
            f"/packages/{OWN}%00/{filename}",
            f"/packages/%20{OWN}/{filename}",
            f"/packages/{OWN};x/{filename}",
            f"//packages/{OWN}/{filename}",
            f"/simple/{PLAIN}/../{OWN}/",
            f"/simple/./{OWN}/",
            f"/simple//{OWN}/",
            f"/simple/{OWN}//",
            f"/simple/{OWN}%2f",
            f"/simple/%2e%2e/simple/{OWN}/",
            f"/local/{PLAIN}%2f..%2f{OWN}/",
            f"/integrity/{PLAIN}/1.0/{filename}/provenance",
            f"/api/projects/{PLAIN}%2f..%2f{OWN}",
            f"/pypi/{PLAIN}/../{OWN}/json",
            f"/simple/{OWN}/?format=application/vnd.pypi.simple.v1%2Bjson",
            f"/simple/{OWN}?format={H}",
            f"/?project={OWN}",
            f"/simple/?project={OWN}&name={OWN}",
            f"http://index.example/simple/{OWN}/",
            f"/legacy/{OWN}/1.0",
            f"/+simple/{OWN}",
        ):
            for who in ("anonymous", "bob"):
                answer = self.ask(who, target)
                self.assertNotEqual(answer.status, 500, target)
                self.assertNotIn(answer.body, (file_of(OWN)[1], b""), (who, target))
                self.check(answer, OWN, OWN.replace("-", "_"), filename)

    def test_search(self) -> None:
        """Nothing that is looked for finds it, and no number counts it, also where somebody else
        has just found it.
        """
        words = (
            "",
            f"q={OWN}",
            f"q={LICENSED}",
            f"q={OWN[:1]}",
            "source=ours",
            "source=upstream",
            "python=3.12&most=1",
        )
        for asked in words:
            mine = self.ask("ada", f"/api/search?{asked}").json
            for who in OUTSIDERS:
                for path in ("/api/search", "/search"):
                    answer = self.ask(
                        who, f"{path}?{asked}", ("Accept", "application/json, text/html")
                    )
                    self.check(answer, *({OWN, LICENSED} & {asked[2:]}))
                found = self.ask(who, f"/api/search?{asked}").json
                self.assertLess(found["total"], mine["total"], (who, asked))

    def test_serial(self) -> None:
        """What happens to what is hidden changes nothing of the lists of others: not their bytes,
        tags or serials.
        """
        targets = ("/simple/", "/local/", "/api/projects")
        before = [self.said(who, target) for who in OUTSIDERS for target in targets]
        self.have_more(sdist_filename(OWN, "2.0"))
        self.assertEqual(
            [self.said(who, target) for who in OUTSIDERS for target in targets], before
        )

    def said(self, who: str, target: str) -> object:
        """All of an answer but its date."""
        answer = self.ask(who, target)
        return [field for field in answer.head if field[0] != "Date"], answer.body

    def have_more(self, filename: str) -> None:
        self.published(
            self.publish(filename, sdist(OWN, "2.0"), user=None, headers=IS["wendy"].headers)
        )

    def test_uploads(self) -> None:
        """Whoever may publish elsewhere is told nothing when they send a file of it: neither that
        it is there nor its hash.
        """
        answers = set()
        for name in (OWN, LICENSED):
            for data in (file_of(name)[1], b"other bytes"):
                for who in ("bob", "other's token"):
                    answer = self.publish(
                        file_of(name)[0], data, user=None, headers=IS[who].headers
                    )
                    self.check(answer, name)
                    answers.add(
                        (
                            answer.status,
                            answer.text.replace(name, "x")
                            .replace("bob", "wendy")
                            .replace(" in general", ""),
                        )
                    )
        self.assertEqual({status for status, _ in answers}, {403})


class ConditionalTests(HiddenCase):
    """Questions whose answer has no body."""

    def test_known_tags(self) -> None:
        """Who knows the entity tag of what is hidden does not learn by it that it is there, or
        still the same.
        """
        filename = file_of(OWN)[0]
        for target in (
            f"/simple/{OWN}/",
            f"/+simple/{OWN}/",
            f"/local/{OWN}/",
            f"/pypi/{OWN}/json",
            f"/packages/{OWN}/{filename}",
            f"/packages/{OWN}/{filename}.metadata",
            f"/packages/py3/a/{OWN}/{filename}",
            f"/local/{OWN}/{filename}",
        ):
            seen = self.ask("ada", target)
            tag, when = seen["etag"], seen["last-modified"]
            assert tag is not None
            self.assertEqual(self.ask("ada", target, ("If-None-Match", tag)).status, 304)
            for who in OUTSIDERS:
                refused = 401 if who == "anonymous" else 403
                for header in (
                    ("If-None-Match", tag),
                    ("If-None-Match", "*"),
                    ("If-Match", '"other"'),
                    ("If-Modified-Since", when or "Sat, 01 Jan 2050 00:00:00 GMT"),
                    ("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"),
                    ("Range", "bytes=0-0"),
                    ("Range", "bytes=99999999-"),
                    ("If-Range", tag),
                ):
                    for method in ("GET", "HEAD"):
                        self.assertEqual(
                            self.ask(who, target, header, method=method).status,
                            refused,
                            (target, header),
                        )


class ChangesTests(HiddenCase):
    """Rights that change while pypid runs."""

    def names(self, who: str, target: str = "/simple/") -> list[str]:
        answer = self.ask(who, target, ("Accept", J))
        return (
            [each["name"] for each in answer.json["projects"]]
            if answer.status == 200
            else [str(answer.status)]
        )

    def test_at_once(self) -> None:
        """A right that is given or taken away holds with the next request: for pages, files, and
        lists that were kept.
        """
        filename = file_of(OWN)[0]
        targets = (
            f"/simple/{OWN}/",
            f"/packages/{OWN}/{filename}",
            f"/pypi/{OWN}/json",
            f"/api/projects/{OWN}",
        )
        given = evolve(
            OPEN,
            projects=grants_of(
                parse_right(*right) for right in (*RIGHTS, (f"{OWN}.user.bob", "r"))
            ),
        )
        for rules, status in (
            (OPEN, 403),
            (given, 200),
            (OPEN, 403),
            (Rules(), 200),
            (CLOSED, 403),
            (given, 200),
            (OPEN, 403),
        ):
            replace_rules(self.pypid, rules)
            for target in targets:
                self.assertEqual(self.ask("bob", target).status, status, target)
            if rules is not CLOSED:
                for target in ("/simple/", "/local/"):
                    self.assertEqual(OWN in self.names("bob", target), status == 200, target)
            self.assertIn(OWN, self.names("ada"))

    def test_known_tag_after(self) -> None:
        """Who could read a list or a page, and cannot any more, is not told by the tag of then that
        it is still the same.
        """
        tags = {}
        replace_rules(self.pypid, Rules())
        for target in ("/simple/", f"/simple/{OWN}/"):
            tags[target] = self.ask("bob", target)["etag"] or ""
            self.assertEqual(self.ask("bob", target, ("If-None-Match", tags[target])).status, 304)
        replace_rules(self.pypid, OPEN)
        self.assertEqual(
            self.ask("bob", "/simple/", ("If-None-Match", tags["/simple/"])).status, 200
        )
        self.assertEqual(
            self.ask("bob", f"/simple/{OWN}/", ("If-None-Match", tags[f"/simple/{OWN}/"])).status,
            403,
        )

    def test_claimed_later(self) -> None:
        """A name of upstream's that a new rule claims is theirs no more, at once: not on kept
        lists, not by kept files, and upstream is not asked for it; when the rule is gone it is as
        it was.
        """
        filename = file_of(THEIRS)[0]
        ours = evolve(OPEN, projects=grants_of([parse_right(f"{THEIRS}.group.writers", "rw")]))
        for _ in range(2):
            replace_rules(self.pypid, OPEN)
            self.assertIn(THEIRS, self.names("ada"))
            self.assertEqual(self.ask("ada", f"/simple/{THEIRS}/").status, 200)
            replace_rules(self.pypid, ours)
            self.upstream.heard.clear()
            self.pypid.clock.advance(3600)
            for target in ("/simple/", "/local/"):
                self.assertNotIn(THEIRS, self.names("ada", target))
            for target in (
                f"/simple/{THEIRS}/",
                f"/packages/{THEIRS}/{filename}",
                f"/local/{THEIRS}/{filename}",
            ):
                self.assertEqual(self.ask("ada", target).status, 404)
            self.assertEqual(self.upstream.heard, [])

    @given(
        st.lists(
            st.tuples(
                st.integers(0, 3),
                st.sampled_from(ANYBODY),
                st.sampled_from(ACCEPTS[:-1]),
                st.booleans(),
                st.integers(0, 20),
            ),
            max_size=12,
        )
    )
    @settings(max_examples=25, deadline=None, database=None)
    def test_any_order(self, asked: list[tuple[int, Who, str, bool, int]]) -> None:
        """Whoever asks for the list, in whatever order and format, with whatever tag of whosever,
        while rules come and go: they see what they may read, and "not modified" is said of nothing
        else.
        """
        every = (OPEN, CLOSED, Rules(), evolve(CLOSED, projects={}))
        there = [project_name(name) for name in (PLAIN, OWN, THEIRS, LICENSED)]
        tags: list[tuple[str, set[str]]] = [('"none"', set())]
        for number, who, accept, zipped, tag in asked:
            rules = every[number]
            replace_rules(self.pypid, rules)
            known, listed = tags[tag % len(tags)]
            headers = [("If-None-Match", known), *([("Accept-Encoding", "gzip")] if zipped else [])]
            answer = self.ask(who, "/simple/", *([("Accept", accept)] if accept else []), *headers)
            identity = self.have(self.who_is(who))
            expected = {name for name in there if may(rules, identity, Action.READ, name)}
            if answer.status == 304:
                self.assertEqual(listed, expected)
            elif answer.status == 200:
                said = plain(answer)
                self.assertEqual({name for name in there if name in said}, expected)
                assert answer["etag"] is not None
                tags.append((answer["etag"], expected))
            else:
                self.assertFalse(may(rules, identity, Action.READ, None), answer)

    async def who_is(self, who: Who) -> Identity:
        credential = credential_of(who.headers[0][1].encode() if who.headers else None)
        return ANONYMOUS if credential is None else await self.pypid.access.identify(credential)


class ClosedTests(HiddenCase):
    """While nobody knows who may do what: the rules that there are say less than those that are
    missing.
    """

    def test_closed(self) -> None:
        """Nobody but administrators is let in, and not by a token of theirs; what they are given is
        for no shared cache, though the rules that are known hide nothing.
        """
        secret, token = new_token(
            lambda size: b"z" * size,
            name="CI",
            user="ada",
            scope=Scope(frozenset({Action.READ}), ("other-*",)),
            now=BEGINNING,
        )
        self.pypid.papers.tokens[token.digest] = token
        replace_rules(self.pypid, Rules())
        self.pypid.app.closed = PeopleUnknown("the accounts database")
        filename = file_of(OWN)[0]
        others = [who for who in ANYBODY if who.name != "ada"] + [
            Who("ada's token", (basic("__token__", secret),))
        ]
        for target in (
            "/simple/",
            f"/simple/{OWN}/",
            f"/packages/{OWN}/{filename}",
            f"/simple/{UNKNOWN}/",
        ):
            for who in others:
                self.assertEqual(self.ask(who, target).status, 503, (who, target))
            answer = self.ask("ada", target)
            if answer.status == 200:
                self.assertIn("private", answer["cache-control"] or "")
            self.assertIsNone(answer["access-control-allow-origin"])


class UpstreamTests(HiddenCase):
    """What another index hears."""

    def heard(self, pypid: Pypid, *whose: str) -> set[str]:
        """What it has heard after these asked for everything, by every route."""
        self.upstream.heard.clear()
        for who in whose:
            for method, target in each_target(OWN, CLAIMED, LICENSED, UNKNOWN):
                if method == "GET":
                    pypid.clock.advance(3600)
                    answer = self.ask(who, target, method=method, pypid=pypid)
                    location = answer["location"] or ""
                    self.assertFalse(
                        location.startswith("http") and LICENSED not in location, (who, target)
                    )
                    self.assertFalse(
                        location.startswith("http") and who in OUTSIDERS, (who, target)
                    )
        return set(self.upstream.heard)

    def test_ours(self) -> None:
        """Nobody, not even an administrator, makes another index hear a private or claimed name;
        nor is anybody sent there.
        """
        for mode in (Mode.CACHE, Mode.REDIRECT, Mode.MIRROR):
            pypid = self.index(OPEN, mode)
            self.assertEqual(self.heard(pypid, "ada"), {LICENSED, UNKNOWN}, mode)
            self.assertEqual(
                self.ask("ada", f"/packages/{CLAIMED}/{file_of(CLAIMED)[0]}", pypid=pypid).status,
                404,
            )

    def test_theirs(self) -> None:
        """A project of theirs with rules is asked for on behalf of those who may read it, and of
        nobody else.
        """
        pypid = self.index(OPEN, Mode.REDIRECT)
        self.assertEqual(self.heard(pypid, *OUTSIDERS, "wendy"), {UNKNOWN})
        self.assertEqual(self.heard(pypid, "rita"), {LICENSED, UNKNOWN})

    def test_closed(self) -> None:
        """Where somebody lacks the default right to read, nothing at all is asked upstream for
        them.
        """
        pypid = self.index(CLOSED)
        self.assertEqual(self.heard(pypid, *OUTSIDERS), set())
        self.assertEqual(self.heard(pypid, "carol"), {LICENSED, UNKNOWN})

    def test_rules_unknown(self) -> None:
        """As long as the rules are not known any name may be ours: another index hears none, from
        an administrator either, and what is kept of it is not shown; what is known to be ours is
        served. Then it is as it was.
        """
        known = self.pypid.index.context.policy.claims.names
        self.pypid.index.context.policy.claims.names = EVERY_NAME
        filename = file_of(THEIRS)[0]
        for target in (
            f"/simple/{THEIRS}/",
            f"/packages/{THEIRS}/{filename}",
            f"/local/{THEIRS}/",
            f"/simple/{UNKNOWN}/",
        ):
            answer = self.ask("ada", target)
            self.assertEqual((answer.status, answer["retry-after"]), (503, "5"), target)
        self.assertEqual(self.heard(self.pypid, "ada", "bob"), set())
        self.assertEqual(self.ask("ada", f"/simple/{OWN}/").status, 200)
        self.assertNotIn(THEIRS, self.ask("ada", "/simple/").text)
        self.pypid.index.context.policy.claims.names = known
        self.assertIn(THEIRS, self.ask("ada", "/simple/").text)
        self.assertEqual(self.ask("ada", f"/packages/{THEIRS}/{filename}").status, 200)

    def test_released(self) -> None:
        """A private name that is deleted and given back stays ours as long as somebody may publish
        it by a rule.
        """
        self.assertEqual(self.ask("ada", f"/api/projects/{OWN}", method="DELETE").status, 200)
        self.assertEqual(self.ask("ada", f"/api/names/{OWN}", method="DELETE").status, 200)
        self.assertEqual(self.heard(self.pypid, "ada", "wendy"), {LICENSED, UNKNOWN})


class Signer:
    """A store that gives signed URLs."""

    def __init__(self, pypid: Pypid) -> None:
        self.now = pypid.world.now

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        """One that whoever has it can use."""
        return SignedUrl(f"https://s3.example/{key}?X-Amz-Signature=5ecret", self.now() + lifetime)


class LinksTests(HiddenCase):
    """Signed URLs: whoever has one has the file."""

    def test_links(self) -> None:
        """They are given to who may read the file, for nobody's cache, and to nobody else, also
        when others have them.
        """
        index = self.pypid.index
        links = Links(
            cast(Blobs, Signer(self.pypid)),
            self.pypid.world,
            timedelta(hours=1),
            timedelta(minutes=5),
        )
        index.reader = evolve(index.reader, links=links)
        filename = file_of(OWN)[0]
        for below in ("packages", "local", "packages/py3/a", "api/package"):
            target = f"/{below}/{OWN}/{filename}"
            for who in ("wendy", "rita", "carol", "token to read"):
                answer = self.ask(who, target)
                self.assertEqual(
                    (answer.status, answer["cache-control"]), (302, "private, no-store")
                )
                self.assertIn("5ecret", answer["location"] or "")
            for who in OUTSIDERS:
                for method in ("GET", "HEAD"):
                    answer = self.ask(who, target, method=method)
                    self.assertIn(answer.status, (401, 403))
                    self.assertNotIn("5ecret", plain(answer))
            replace_rules(
                self.pypid, evolve(OPEN, projects=grants_of([parse_right(f"{OWN}.user.bob", "rw")]))
            )
            self.assertEqual(
                [self.ask(who, target).status for who in ("bob", "rita", "wendy")], [302, 403, 403]
            )
            replace_rules(self.pypid, OPEN)

    def test_links_of_restricted_projects_end_soon(self) -> None:
        """A signed URL of a project that not everyone may read comes from links that end soon and
        are never written down.
        """
        blobs = cast(Blobs, Signer(self.pypid))
        short = Links(blobs, self.pypid.world, RESTRICTED_LIFETIME, RESTRICTED_BUFFER)
        links = Links(
            blobs, self.pypid.world, timedelta(days=1), timedelta(minutes=5), restricted=short
        )
        index = self.pypid.index
        index.reader = evolve(index.reader, links=links)
        self.assertEqual(self.ask("wendy", f"/packages/{OWN}/{file_of(OWN)[0]}").status, 302)
        self.assertEqual((len(links.good()), len(short.good())), (0, 1))
        self.assertEqual(self.ask("wendy", f"/packages/{PLAIN}/{file_of(PLAIN)[0]}").status, 302)
        self.assertEqual((len(links.good()), len(short.good())), (1, 1))


class CollectingTests(HiddenCase):
    """``POST /requirements.txt``."""

    def setUp(self) -> None:
        super().setUp()
        self.secrets_once = self.secrets()
        replace_rules(self.pypid, evolve(self.pypid.app.rules, collect=EVERYONE))
        needs = [(PLAIN, "1.0"), (OWN, "1.0"), (CLAIMED, "1.0"), (LICENSED, "1.0")]
        self.pypid.app.resolvers = Scripted({PLAIN: needs, THEIRS: needs})

    def collect(self, who: str, *headers: tuple[str, str], **fields: str) -> Answer:
        parts = [text(name.replace("_", "."), value) for name, value in fields.items()]
        return self.send_form(
            parts, *IS[who].headers, *headers, target="/requirements.txt", user=None
        )

    def test_requirements(self) -> None:
        """A requirement, or what one needs, that may not be read is a problem without a word of its
        files; the rest is had.
        """
        lines = f"{PLAIN}\n{OWN}\n{CLAIMED}==1.0\n{LICENSED}\n"
        for who in ("anonymous", "bob", "other's token"):
            answer = self.collect(who, requirements=lines)
            self.assertEqual(answer.status, 200)
            self.check(answer, *HIDDEN)
            self.assertIn(file_of(PLAIN)[0], answer.text)
            for stream in ("application/x-ndjson", "text/event-stream"):
                connection = self.pypid.connect()
                kind = ("Content-Type", "application/json")
                body = json.dumps({"requirements": lines}).encode()
                connection.send(
                    spelled(
                        "POST",
                        "/requirements.txt",
                        *IS[who].headers,
                        kind,
                        ("Accept", stream),
                        body=body,
                    )
                )
                said = connection.rest().decode("latin-1")
                self.assertIn(file_of(PLAIN)[0], said)
                for secret in self.secrets_once - set(HIDDEN):
                    self.assertNotIn(secret, said)
        self.assertEqual(self.upstream.heard, [])
        self.assertIn(file_of(OWN)[0], self.collect("wendy", requirements=PLAIN).text)

    def test_locks(self) -> None:
        """So it is where a lock names files of it, hashes and all."""
        for who in ("anonymous", "bob", "other's token"):
            for name in HIDDEN:
                filename, data = file_of(name)
                answer = self.collect(who, pylock_toml=pylock(name, filename, data))
                self.check(answer, name)
                self.assertEqual(answer.json["cached"], [])
        self.assertEqual(self.upstream.heard, [])
