"""Named indexes over HTTP: the routes below the name of an index, and the URLs in the responses."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from attrs import evolve
from werkzeug.exceptions import HTTPException

from pypid.core.indexes import ROUTES, IndexSettings
from pypid.core.permissions import Principals, Rules
from pypid.web.app.app import AccessState
from pypid.web.fastpath.channel import FastPath
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.distributions import wheel, wheel_filename
from tests.web.fast_path_pair import Lines
from tests.web.full_app import (
    HOST,
    RULES,
    Connection,
    J,
    Pypid,
    WholeCase,
    basic,
    content,
    form,
    spelled,
    text,
)
from tests.web.routes import ALL_ROUTES

ALICE = Principals(users=frozenset({"alice"}))
_LINK = re.compile(r'(?:href|src|action)="([^"]*)"')


class TableTests(WholeCase):
    """What the table of routes says of named indexes."""

    def test_no_index_has_the_name_of_a_route(self) -> None:
        """The first segment of every route is reserved."""
        firsts = {each.path.split("/")[1] for each in ALL_ROUTES}
        self.assertEqual({each for each in firsts if each and "<" not in each} - ROUTES, set())


class BelowIndexCase(WholeCase):
    """A pypid with the indexes ``team``, where everyone may read, and ``hidden``, which alice alone
    may use.
    """

    public_url: str | None = None

    def setUp(self) -> None:
        super().setUp()
        indexes = (
            IndexSettings(name="team", bases=()),
            IndexSettings(name="hidden", bases=(), read=ALICE),
        )
        self.pypid = Pypid(
            Path(self.mktemp()), rules=RULES, indexes=indexes, public_url=self.public_url
        )

    def have_file(self, index: str, name: str = "spam", version: str = "1.0") -> tuple[str, bytes]:
        """Publish a wheel in the index; its file name and its bytes."""
        filename, data = wheel_filename(name, version), wheel(name, version)
        self.published(self.publish(filename, data, target=f"/{index}/legacy/"))
        return filename, data

    def links_of(self, path: str, user: str | None = None) -> list[str]:
        """The links on a page, as paths from the root of the site."""
        answer = self.pypid.get(path, "text/html", user=user)
        self.assertEqual(answer.status, 200, answer)
        return [
            urlsplit(urljoin(f"http://{HOST}{path}", each)).path
            for each in _LINK.findall(answer.text)
            if "://" not in each
        ]


class InstallerTests(BelowIndexCase):
    """What installers and uploaders request."""

    def test_default_index_stays_at_the_root(self) -> None:
        """Its files are not below another index, and its requests make no index."""
        filename, _ = self.have_wheel()
        self.assertEqual(self.pypid.get("/simple/spam/", J).status, 200)
        self.assertEqual(self.pypid.indexes.made, ())
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 404)
        self.assertEqual(self.pypid.get(f"/team/packages/spam/{filename}").status, 404)

    def test_redirects_stay_in_the_index(self) -> None:
        """Other spellings, and the name of the index alone, lead to addresses below the index."""
        self.have_file("team")
        for path, target in (
            ("/team/simple/Spam", "/team/simple/spam/"),
            ("/team/simple", "/team/simple/"),
            ("/team/legacy/spam/1.0/", "/team/simple/spam/"),
            ("/team", "/team/"),
            ("/team?x=1", "/team/?x=1"),
            ("/team/project/Spam/", "/team/project/spam/"),
            ("/te%61m/simple/Spam/", "/te%61m/simple/spam/"),
        ):
            answer = self.pypid.get(path)
            self.assertIn(answer.status, (301, 302), path)
            self.assertEqual(urljoin(path, answer["Location"] or ""), target)

    def test_other_routes_are_not_there(self) -> None:
        """What exists only once is refused below an index, with advice, before any login."""
        for path in ("/team/manage/", "/team/account/", "/team/api/users", "/team/health"):
            answer = self.pypid.get(path)
            self.refused(answer, 404, "Request it without /team")
        self.refused(self.pypid.get("/team/nothing/at/all"), 404, "There is nothing")
        self.refused(self.pypid.get("/team/spam/"), 404, "/team/simple/spam/")

    def test_unknown_index(self) -> None:
        """An address below a name that no index has names the indexes that the client may read. An
        address that no index has, and the alias of a project, do not.
        """
        for user, expected in ((None, "You may read: team."), ("alice", "hidden, team.")):
            for method, path in (
                ("GET", "/nope/simple/spam/"),
                ("GET", "/nope/config/pip.conf"),
                ("POST", "/nope/legacy/"),
            ):
                answer = self.pypid.ask(method, path, body=b"", user=user)
                self.refused(answer, 404, "There is no index 'nope'.", expected)
                self.assertEqual("hidden" in answer.text, user == "alice", path)
        wrong = self.pypid.ask("GET", "/nope/simple/spam/", basic("alice", "wrong"))
        self.refused(wrong, 404, "You may read: team.")
        for path in ("/nope/nothing/at/all", "/nope/api/users", "/simple/nope/simple/x/y"):
            self.refused(self.pypid.get(path), 404, "There is nothing")

    def test_preflight(self) -> None:
        """A script of another site may read an index that everyone may read, as at the root."""
        origin = ("Origin", "https://notebook.example")
        self.have_file("team")
        for path in ("/simple/", "/simple/spam/"):
            here = self.pypid.ask("OPTIONS", f"/team{path}", origin)
            self.assertEqual(here.status, self.pypid.ask("OPTIONS", path, origin).status)
            name = "Access-Control-Allow-Origin"
            self.assertEqual(here[name], self.pypid.ask("OPTIONS", path, origin)[name])


class AccessTests(BelowIndexCase):
    """Who may do what in an index."""

    def test_rules_follow(self) -> None:
        """A change of the rules, or of the index's settings, holds for the next request."""
        self.have_file("team")
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 200)
        self.pypid.app.rules = evolve(self.pypid.app.rules, read=ALICE)
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 401)
        everyone = IndexSettings(name="team", bases=(), read=Principals(everyone=True))
        self.pypid.configure(everyone)
        self.assertEqual(self.pypid.get("/team/simple/spam/", J).status, 200)
        self.assertEqual(self.pypid.get("/hidden/simple/", J, user="alice").status, 404)

    def test_running_requests_follow(self) -> None:
        """Rules that come into force also hold for requests that have begun."""
        app = self.pypid.app
        state = AccessState(
            rules=Rules(write=Principals()),
            account_settings=app.settings.people,
            closed=None,
            registry=None,
            publishers=None,
        )
        filename, data = wheel_filename(), wheel()
        body = form([text(":action", "file_upload"), content(filename, data)], "x")
        kind = ("Content-Type", "multipart/form-data; boundary=x")
        sent = spelled("POST", "/team/legacy/", kind, body=body, user="alice")
        connection = self.pypid.connect()
        connection.send(sent[:-100])
        app.use_access(state)
        connection.send(sent[-100:])
        answer = connection.answer()
        assert answer is not None
        self.refused(answer, 403)

    def test_volatile(self) -> None:
        """Those who may publish in a volatile index may overwrite and delete."""
        filename, _ = self.have_file("team")
        changed = wheel("spam", "1.0", files={"spam.py": b"changed"})
        self.refused(self.publish(filename, changed, target="/team/legacy/"), 400, "exists")
        self.pypid.configure(IndexSettings(name="team", bases=(), volatile=True))
        self.published(self.publish(filename, changed, target="/team/legacy/"))
        self.assertEqual(self.pypid.get(f"/team/packages/spam/{filename}").body, changed)
        path = f"/team/api/projects/spam/files/{filename}"
        self.assertEqual(self.pypid.api("DELETE", path, user="bob").status, 403)
        self.assertEqual(self.pypid.api("DELETE", path, user="alice").status, 200)

    def test_shared_caches(self) -> None:
        """Files of an index are revalidated, and those of a restricted one are private."""
        for index, user, is_private in (("team", None, False), ("hidden", "alice", True)):
            filename, _ = self.have_file(index)
            answer = self.pypid.get(f"/{index}/packages/spam/{filename}", user=user)
            caching = answer["Cache-Control"] or ""
            self.assertEqual("private" in caching, is_private)
            self.assertNotIn("immutable", caching)

    def test_fast_path(self) -> None:
        """Responses of an index are repeated from memory for at most a second, and not after a
        change of a project, of the rules, or of the index; never for another index.
        """
        fast = FastPath(self.pypid.app, Lines(self.pypid))
        site = Site(
            resource(self.pypid.app),
            reactor=self.pypid.clock,
            fast_path=fast,
            hosts=HostPolicy(("*",)),
        )
        site.startFactory()
        connection = Connection(site)

        def ask(path: str = "/team/simple/spam/") -> bool:
            """Request the path; return whether the fast path has answered."""
            before = fast.answered
            connection.send(spelled("GET", path, ("Accept", J)))
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, 200)
            return fast.answered > before

        self.have_wheel()
        self.have_file("team")
        self.assertEqual([ask(), ask(), ask("/simple/spam/")], [False, True, False])
        self.have_file("team", version="2.0")
        self.assertEqual([ask(), ask()], [False, True])
        self.pypid.clock.advance(1.1)
        self.assertEqual([ask(), ask()], [False, True])
        self.pypid.app.rules = evolve(self.pypid.app.rules)
        self.assertEqual([ask(), ask()], [False, True])
        self.pypid.configure(*self.pypid.indexes.settings.values(), IndexSettings(name="other"))
        self.assertEqual([ask(), ask()], [False, True])

    def test_fast_path_keeps_out(self) -> None:
        """Responses of an index are not repeated from memory for another one."""
        fast = FastPath(self.pypid.app, Lines(self.pypid))
        site = Site(
            resource(self.pypid.app),
            reactor=self.pypid.clock,
            fast_path=fast,
            hosts=HostPolicy(("*",)),
        )
        site.startFactory()
        self.have_file("team")
        connection = Connection(site)
        for _ in range(3):
            for path, status in (("/team/simple/spam/", 200), ("/simple/spam/", 404)):
                connection.send(spelled("GET", path, ("Accept", J)))
                answer = connection.answer()
                assert answer is not None
                self.assertEqual(answer.status, status)


class PageTests(BelowIndexCase):
    """The pages of an index."""

    def test_each_link_leads_somewhere(self) -> None:
        """A link below the index has a route there; what exists only once is linked at the root."""
        self.have_file("team")
        self.have_file("team", version="2.0")
        for path in (
            "/team/",
            "/team/search",
            "/team/upload",
            "/team/advisories",
            "/team/project/spam/",
            "/team/project/spam/1.0/",
            "/team/project/spam/-/versions",
            "/team/project/spam/-/settings",
            "/team/project/spam/-/why",
            f"/team/project/spam/-/contents/{wheel_filename()}",
            "/team/project/spam/-/compare?from=1.0&to=2.0",
        ):
            links = self.links_of(path, user="ada")
            self.assertIn("/team/simple/", links)
            for link in links:
                is_below, rest = link.startswith("/team/"), link.removeprefix("/team")
                try:
                    route, _ = ALL_ROUTES.match(rest.lstrip("/").encode(), b"GET")
                except HTTPException:
                    route, _ = ALL_ROUTES.match(rest.lstrip("/").encode(), b"POST")
                if link not in ("/", "/hidden/"):  # of the switcher
                    self.assertEqual(route.below_index, is_below, f"{path}: {link}")
