"""Named indexes with bases over HTTP: what a client gets of projects that an index inherits."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from attrs import evolve
from twisted.internet.task import Clock

from pypid.core.configuration.choices import Mode
from pypid.core.errors import StorageDown
from pypid.core.indexes import IndexSettings
from pypid.core.permissions import EVERYONE, Grants, Principals
from pypid.core.policy import Policy
from pypid.web.app.app import IndexApps
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.distributions import wheel, wheel_filename
from tests.index.nodes import Told
from tests.web.full_app import (
    RULES,
    Answer,
    Connection,
    J,
    Pypid,
    WholeCase,
    content,
    form,
    spelled,
    text,
)

ALICE = Principals.parse("alice")
BOTH = Principals.parse("alice bob")


class LayersTests(WholeCase):
    """A pypid with the indexes `base`, where alice alone may read, and `team`, which everyone may
    read and which has `base` and the default index as bases.
    """

    def setUp(self) -> None:
        super().setUp()
        self.base = IndexSettings(name="base", bases=(), read=ALICE, write=ALICE)
        self.team = IndexSettings(name="team", bases=("base", "default"), write=BOTH)
        self.upstream = Told(Clock())
        self.pypid = Pypid(
            Path(self.mktemp()),
            indexes=(self.base, self.team),
            policy=Policy(mode=Mode.CACHE),
            upstream=self.upstream,
        )

    def have_wheel_in(self, index: str, name: str = "spam", version: str = "1.0") -> str:
        """Publish a wheel in the index; return its file name."""
        filename, target = wheel_filename(name, version), f"/{index}/legacy/"
        self.published(self.publish(filename, wheel(name, version), target=target))
        return filename

    def page(self, path: str, user: str | None = None) -> Answer:
        """The answer to a request for a project page."""
        return self.pypid.get(path, J, user=user)

    def test_an_open_index_with_the_base_public_shows_upstream_projects_only(self) -> None:
        """Users who may not read the default index get cached public files, and no local project of
        it by any route. With the base default they get neither.
        """
        self.pypid.app.rules = evolve(RULES, read=BOTH, fetch=BOTH)
        for name, base in (("open", "public"), ("below", "default")):
            settings = IndexSettings(name=name, bases=(base,), read=EVERYONE)
            self.pypid.configure(*self.pypid.indexes.settings.values(), settings)
        published = self.publish(wheel_filename(), wheel(), user="alice")
        self.published(published)
        [file] = self.page("/open/simple/numpy/", "alice").json["files"]
        path = f"/open/packages/numpy/{file['filename']}"
        self.assertEqual(self.page(path, "alice").status, 200)
        self.assertEqual(self.page("/open/simple/numpy/").status, 200)
        self.assertEqual(self.page(path).status, 200)
        for route in ("/open/simple/", "/open/local/", "/open/api/projects", "/open/api/news"):
            answer = self.page(route)
            self.assertEqual(answer.status, 200, route)
            self.assertNotIn("spam", answer.text)
        told = list(self.upstream.names_told)
        for route in ("simple/spam/", "local/spam/", "pypi/spam/json", "project/spam/"):
            self.assertEqual(self.page(f"/open/{route}").status, 404, route)
            self.assertEqual(self.page(f"/below/{route}").status, 404, route)
            route = route.replace("spam", "numpy")
            self.assertEqual(self.page(f"/below/{route}").status, 404, route)
        self.assertEqual(self.upstream.names_told, told)

    def test_a_name_that_is_used_from_upstream_is_taken_by_right_only(self) -> None:
        """A user with the default right to write cannot hide it from all others; an administrator
        can, and a user with a rule for the name.
        """
        self.assertEqual(self.page("/simple/numpy/").status, 200)
        upload = partial(
            self.publish, wheel_filename("numpy"), wheel("numpy"), target="/team/legacy/"
        )
        self.refused(upload(user="bob"), 403, "exists in the upstream index")
        self.refused(upload(user="alice"), 403, "exists in the upstream index")
        grants = {"numpy": Grants(read=BOTH, write=ALICE)}
        self.pypid.app.rules = evolve(RULES, projects=grants)
        self.published(upload(user="alice"))

    def test_as_of_views_need_the_rights_of_the_layer_that_had_the_project(self) -> None:
        """Before a project was published in an index, a base had it: those who may not read it
        there see neither its page nor its files.
        """
        filename = self.have_wheel_in("base")
        self.have_wheel_in("base", "hush")
        self.have_wheel("eggs")
        self.have_wheel("ham")
        self.pypid.clock.advance(60)
        moment = f"{self.pypid.world.now():%Y-%m-%dT%H:%M:%SZ}"
        self.pypid.clock.advance(3600)
        later, data = wheel_filename("spam", "2.0"), wheel("spam", "2.0")
        self.published(self.publish(later, data, target="/team/legacy/"))
        self.assertEqual(self.names_on("/team/simple/spam/", "bob"), [later])
        self.have_wheel_in("base", "ham", "3.0")  # from now on it hides that of the default index
        self.assertEqual(self.listed_on("/team/simple/", "bob"), ["eggs", "spam"])
        path = f"/team/at/{moment}/"
        self.assertEqual(self.names_on(f"{path}simple/spam/", "alice"), [filename])
        self.assertEqual(self.listed_on(f"{path}simple/", "alice"), ["eggs", "ham", "hush", "spam"])
        self.assertEqual(self.listed_on(f"{path}simple/", "bob"), ["eggs", "ham"])
        self.assertEqual(self.page(f"{path}packages/spam/{filename}", "alice").status, 200)
        self.assertEqual(self.names_on(f"{path}simple/ham/", "bob"), [wheel_filename("ham")])
        for user in ("bob", None):
            self.assertEqual(self.names_on(f"{path}simple/spam/", user), [])
            file = self.page(f"{path}packages/spam/{filename}", user)
            self.assertEqual(file.status, 404)
            self.assertNotIn("base", file.text)

    def listed_on(self, path: str, user: str | None) -> list[str]:
        """The names of the projects on a list."""
        return [project["name"] for project in self.page(path, user).json["projects"]]

    def names_on(self, path: str, user: str | None) -> list[str]:
        """The names of the files on a page."""
        return [file["filename"] for file in self.page(path, user).json["files"]]

    def test_until_the_indexes_are_known_no_index_is_missing(self) -> None:
        """A client that got 404 would take another project of that name."""
        self.have_wheel_in("team", "ham")
        self.pypid.blobs.away = StorageDown("it is away.")
        pypid = Pypid(Path(self.mktemp()), indexes=(), blobs=self.pypid.blobs, compared=True)
        answer = pypid.get("/team/simple/ham/", J)
        self.refused(answer, 503, "not known yet whether 'team' is hosted here")
        self.assertEqual(pypid.get("/simple/", J).status, 200)
        self.pypid.blobs.away = None
        self.have(pypid.app.decisions.refresh())
        self.assertEqual(pypid.get("/team/simple/ham/", J).status, 404)


class CacheTests(WholeCase):
    """Twenty indexes, more than those whose Apps are kept."""

    def setUp(self) -> None:
        super().setUp()
        names = [f"i{number}" for number in range(20)]
        indexes = [IndexSettings(name=name) for name in names]
        self.pypid = Pypid(Path(self.mktemp()), indexes=indexes)
        self.have_wheel()
        self.apps = IndexApps(self.pypid.app)
        self.site = Site(
            resource(self.pypid.app, self.apps), reactor=self.pypid.clock, hosts=HostPolicy(("*",))
        )
        self.site.startFactory()

    def request_pages(self) -> None:
        """Request a page of each index."""
        connection = Connection(self.site)
        for name in self.pypid.indexes.settings:
            connection.send(spelled("GET", f"/{name}/project/spam/"))
            answer = connection.answer()
            assert answer is not None
            self.assertEqual(answer.status, 200)

    def uploading(self, index: str = "i0") -> tuple[Connection, bytes]:
        """Begin an upload to the index; return the connection, and what is left to send."""
        filename, data = wheel_filename("eggs"), wheel("eggs")
        body = form([text(":action", "file_upload"), content(filename, data)], "x")
        kind = ("Content-Type", "multipart/form-data; boundary=x")
        sent = spelled("POST", f"/{index}/legacy/", kind, body=body, user="alice")
        connection = Connection(self.site)
        connection.send(sent[:-100])
        return connection, sent[-100:]

    def end(self, connection: Connection, rest: bytes) -> Answer:
        """Send the rest of an upload; return its answer."""
        connection.send(rest)
        answer = connection.answer()
        assert answer is not None
        return answer

    def test_rules_are_applied_to_requests_under_way(self) -> None:
        """Also if the App of their index is not kept any more."""
        upload = self.uploading()
        self.request_pages()
        self.pypid.app.rules = evolve(self.pypid.app.rules, write=Principals.parse("bob"))
        self.pypid.app.access_changed.emit()
        self.refused(self.end(*upload), 403)

    def test_index_that_was_created_again_during_an_upload(self) -> None:
        """The rights of the new index decide, and the client has to try again."""
        for write, status in (("bob", 403), ("alice", 503)):
            self.have_index("again", write="alice")
            upload = self.uploading("again")
            self.assertEqual(self.pypid.api("DELETE", "/api/indexes/again?force").status, 200)
            self.pypid.clock.advance(1)
            self.have_index("again", write=write)
            self.refused(self.end(*upload), status)
            self.assertEqual(self.pypid.get("/again/simple/eggs/", J).status, 404)
            self.assertEqual(self.pypid.api("DELETE", "/api/indexes/again?force").status, 200)
