"""pypicloud's HTTP API for packages: what its views and its tests said is still so, but for what
docs/migrate names.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from hashlib import md5, sha256
from pathlib import Path
from typing import Any

from attrs import evolve

from pypid.compat import pypicloud
from pypid.core.configuration.choices import Mode
from pypid.core.permissions import (
    ANONYMOUS,
    AUTHENTICATED,
    EVERYONE,
    NOBODY,
    Grants,
    Principals,
    Rules,
)
from pypid.core.policy import Policy
from pypid.daemon.identities import rules_of
from pypid.web.app import visibility
from tests.distributions import egg, egg_filename, sdist, sdist_filename, wheel, wheel_filename
from tests.support.configuration import parse
from tests.support.worlds import BEGINNING
from tests.web.full_app import HOST, Answer, J, Pypid, WholeCase, basic, content, text
from tests.web.memory_upstream import Elsewhere
from tests.web.rights_cases import (
    ANYBODY,
    CLOSED,
    IS,
    OPEN,
    OWN,
    PLAIN,
    crowded,
    elsewhere,
    file_of,
)

URL = f"http://{HOST}/api/package"
BROWSER = ("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8")
PIP = (
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html; q=0.1, "
    "text/html; q=0.01"
)
BEGUN = int(BEGINNING.timestamp())
ANN = Principals(users=frozenset({"alice"}))


class PackagesCase(WholeCase):
    """What its tests share."""

    def send(
        self, project: str, filename: str, data: bytes, *, user: str | None = "alice", **more: Any
    ) -> Answer:
        """As ``curl -F content=@file``."""
        return self.send_form(
            [content(filename, data)],
            target=f"/api/package/{project}/{filename}",
            user=user,
            **more,
        )

    def listed(self, project: str, user: str | None = None) -> list[str]:
        """The names of the files that the API lists."""
        return [
            package["filename"]
            for package in self.pypid.get(f"/api/package/{project}/", user=user).json["packages"]
        ]

    def check_refused(self, answer: Answer, status: int, *words: str) -> None:
        """It is this error, in pypicloud's words and ours."""
        self.assertEqual(
            (answer.status, answer["content-type"]), (status, "application/json"), answer
        )
        self.assertLessEqual({"error", "message", "code", "title"}, set(answer.json))
        for word in words:
            self.assertIn(word, answer.json["message"])


class ListTests(PackagesCase):
    """``GET /api/package/`` and ``GET /api/package/<project>/``."""

    def test_names(self) -> None:
        """The names of the projects of which files are stored, by name; those that are empty now
        are not among them.
        """
        self.assertEqual(self.pypid.get("/api/package/").json, {"packages": []})
        for name in ("spam", "eggs", "ham"):
            self.have_wheel(name)
        self.pypid.api("DELETE", "/api/projects/ham")
        answer = self.pypid.get("/api/package/")
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/json"))
        self.assertEqual(answer.json, {"packages": ["eggs", "spam"]})

    def test_verbose(self) -> None:
        """With ``?verbose=true`` there is also the newest version's summary, and the second of the
        last publication.
        """
        self.have_wheel("spam", "2.0")
        self.pypid.clock.advance(90)
        self.have_sdist("spam", "1.0")
        eggs = sdist(
            "eggs", "1.0", metadata_bytes=b"Metadata-Version: 2.1\nName: eggs\nVersion: 1.0\n"
        )
        self.published(self.publish(sdist_filename("eggs", "1.0"), eggs))
        late = int(self.pypid.world.now().timestamp())
        for query in ("verbose=true", "verbose=1", "verbose=True", "verbose=yes"):
            self.assertEqual(
                self.pypid.get(f"/api/package/?{query}").json["packages"],
                [
                    {"name": "eggs", "last_modified": late, "summary": None},
                    {"name": "spam", "last_modified": late, "summary": "Lovely spam"},
                ],
            )
        for query in ("", "?", "?verbose", "?verbose=", "?verbose=false", "?verbose=0"):
            self.assertEqual(
                self.pypid.get(f"/api/package/{query}").json["packages"], ["eggs", "spam"], query
            )
        self.check_refused(self.pypid.get("/api/package/?verbose=perhaps"), 400, "verbose")

    def test_changes(self) -> None:
        """A list shows what was published, and deleted, a moment ago; nobody keeps it."""
        self.have_wheel("spam")
        first = self.pypid.get("/api/package/")
        self.assertEqual((first["cache-control"], first.json["packages"]), ("no-store", ["spam"]))
        filename, _ = self.have_wheel("eggs")
        self.assertEqual(self.pypid.get("/api/package/").json["packages"], ["eggs", "spam"])
        self.pypid.api("DELETE", f"/api/projects/eggs/files/{filename}")
        self.assertEqual(self.pypid.get("/api/package/").json["packages"], ["spam"])

    def test_versions(self) -> None:
        """Files are listed with all that pypicloud said of them, the newest version first."""
        data, old = wheel(requires_python=">=3.8"), sdist("spam", "0.9")
        digests = text("md5_digest", md5(data).hexdigest())
        self.published(self.publish(wheel_filename(), data, digests))
        self.published(self.publish(sdist_filename("spam", "0.9"), old))
        answer = self.pypid.get("/api/package/spam/")
        url = f"{URL}/spam/{wheel_filename()}#sha256={sha256(data).hexdigest()}"
        newest = {
            "name": "spam",
            "filename": wheel_filename(),
            "last_modified": int(self.pypid.world.now().timestamp()),
            "version": "1.0",
            "url": url,
            "summary": "Lovely spam",
            "metadata": {
                "requires_python": ">=3.8",
                "hash_sha256": sha256(data).hexdigest(),
                "hash_md5": md5(data).hexdigest(),
                "uploader": "alice",
                "summary": "Lovely spam",
            },
        }
        self.assertEqual(answer.json["packages"][0], newest)
        self.assertEqual(answer.json["packages"][1]["filename"], sdist_filename("spam", "0.9"))
        self.assertNotIn("hash_md5", answer.json["packages"][1]["metadata"])
        self.assertEqual(self.pypid.get(url.partition("#")[0].partition(HOST)[2]).body, data)

    def test_write(self) -> None:
        """``write`` is whether whoever asks may publish there, also where there is nothing yet."""
        self.have_wheel()
        for project in ("spam", "nothing"):
            for user, write in ((None, False), ("bob", False), ("alice", True), ("ada", True)):
                answer = self.pypid.get(f"/api/package/{project}/", user=user)
                self.assertEqual(
                    (answer.status, answer.json["write"]), (200, write), (project, user)
                )

    def test_nothing(self) -> None:
        """A project that there is not has no files, and nobody else is asked for it; what is no
        name is not there.
        """
        upstream = Elsewhere()
        upstream.has("theirs", wheel_filename("theirs"), wheel("theirs"))
        pypid = Pypid(self.spool, policy=Policy(mode=Mode.CACHE), upstream=upstream)
        self.have(pypid.index.maintenance.reconcile())
        self.assertEqual(pypid.get("/api/package/theirs/").json, {"packages": [], "write": False})
        self.assertEqual(upstream.heard, [])
        self.check_refused(pypid.get("/api/package/-x-/"), 404)

    def test_slashes(self) -> None:
        """Without its last slash an address leads to the one with it, its parameters with it."""
        self.have_wheel()
        for target, location in (
            ("/api/package", "./package/"),
            ("/api/package?verbose=true", "./package/?verbose=true"),
            ("/api/package/spam", "./spam/"),
            ("/packages", "./packages/"),
            ("/spam", "./spam/"),
            ("/pypi/spam", "./spam/"),
        ):
            answer = self.pypid.get(target)
            self.assertEqual((answer.status, answer["location"]), (301, location), target)

    def test_spellings(self) -> None:
        """A project is found by any spelling of its name."""
        filename, data = self.have_wheel("my-pkg")
        for name in ("my-pkg", "My.Pkg", "MY__PKG", "my%2Dpkg"):
            self.assertEqual(self.listed(name), [filename])
            self.assertEqual(self.pypid.get(f"/api/package/{name}/{filename}").body, data)


class DownloadTests(PackagesCase):
    """``GET /api/package/<project>/<file>``."""

    def test_ours(self) -> None:
        """A file of ours is given as below ``/packages/``: whole, in part, or not again; with what
        lies beside it.
        """
        filename, data = self.have_wheel()
        for suffix in ("", "/"):
            path = f"/api/package/spam/{filename}{suffix}"
            answer = self.pypid.get(path)
            self.assertEqual(
                (answer.status, answer["content-type"]), (200, "application/octet-stream")
            )
            self.assertEqual(answer.body, data)
            part = self.pypid.get(path, None, ("Range", "bytes=2-5"))
            self.assertEqual((part.status, part.body), (206, data[2:6]))
            self.assertEqual(
                self.pypid.get(path, None, ("If-None-Match", answer["etag"] or "")).status, 304
            )
            self.assertEqual(self.pypid.ask("HEAD", path)["content-length"], str(len(data)))
        self.assertIn(b"Name: spam", self.pypid.get(f"/api/package/spam/{filename}.metadata").body)

    def test_nothing(self) -> None:
        """What is not there is 404, in JSON whatever is accepted."""
        self.have_wheel()
        for path in ("spam/spam-9.0.tar.gz", "nothing/nothing-1.0.tar.gz", "spam/x"):
            for accept in (None, "*/*", "text/html", "application/json"):
                self.check_refused(self.pypid.get(f"/api/package/{path}", accept), 404)

    def test_theirs(self) -> None:
        """What is upstream's is fetched, given and kept; with ``redirect`` whoever asks is sent
        there.
        """
        upstream, name = Elsewhere(), wheel_filename("theirs")
        file = upstream.has("theirs", name, wheel("theirs"))
        for mode in (Mode.CACHE, Mode.REDIRECT):
            pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=mode), upstream=upstream)
            self.have(pypid.index.maintenance.reconcile())
            answer = pypid.get(f"/api/package/theirs/{name}")
            kept = pypid.get("/api/package/").json["packages"]
            if mode is Mode.CACHE:
                self.assertEqual(
                    (answer.status, answer.body, kept), (200, wheel("theirs"), ["theirs"])
                )
                self.assertEqual(
                    pypid.get("/api/package/theirs/").json["packages"][0]["last_modified"], BEGUN
                )
            else:
                self.assertEqual((answer.status, answer["location"], kept), (302, file.source, []))


class UploadTests(PackagesCase):
    """``POST /api/package/<project>/<file>``, and the form at the index's own addresses."""

    def test_uploads(self) -> None:
        """A file in the part ``content`` is published, and told of in pypicloud's JSON."""
        for filename, data in (
            (sdist_filename(), sdist()),
            (wheel_filename(), wheel()),
            (sdist_filename("spam", "2.0", suffix=".zip"), sdist("spam", "2.0", suffix=".zip")),
            (egg_filename(), egg()),
        ):
            answer = self.send("spam", filename, data)
            self.assertEqual(
                (answer.status, answer["content-type"]), (200, "application/json"), answer
            )
            told = answer.json
            self.assertEqual(told["message"], "published")
            self.assertEqual(told["metadata"]["hash_sha256"], sha256(data).hexdigest())
            self.assertEqual(told["metadata"]["uploader"], "alice")
            [listed] = [
                each
                for each in self.pypid.get("/api/package/spam/").json["packages"]
                if each["filename"] == filename
            ]
            self.assertEqual({key: told[key] for key in listed}, listed)
        self.assertEqual(self.incoming(), [])

    def test_again(self) -> None:
        """A file that is there is 409, with the same bytes too; whoever may overwrite gets 200 for
        either.
        """
        filename, data = wheel_filename(), wheel()
        other = wheel(files={"spam.py": b"other = 1\n"})
        self.published(self.send("spam", filename, data))
        for again in (data, other):
            self.check_refused(self.send("spam", filename, again), 409, "File already exists")
        self.assertEqual(self.pypid.get(f"/packages/spam/{filename}").body, data)
        self.pypid.app.rules = Rules(write=ANN, overwrite=ANN)
        self.assertIn("nothing was changed", self.send("spam", filename, data).json["message"])
        self.assertIn("instead of", self.send("spam", filename, other).json["message"])
        self.assertEqual(self.pypid.get(f"/packages/spam/{filename}").body, other)

    def test_names(self) -> None:
        """The file's own name counts: that of the address may be another one, but its project is
        the file's.
        """
        answer = self.send_form(
            [content(sdist_filename(), sdist())], target="/api/package/SPAM/whatever.tar.gz"
        )
        self.assertEqual((answer.status, answer.json["filename"]), (200, sdist_filename()))
        self.check_refused(self.send("eggs", wheel_filename(), wheel()), 400, "'spam'", "'eggs'")
        self.assertEqual(self.listed("spam"), [sdist_filename()])

    def test_refused(self) -> None:
        """What is no file, no distribution, or broken is 400 with the reasons; nothing of it is
        stored.
        """
        for parts in (
            [],
            [text("content", "x")],
            [content("x.txt", b"x")],
            [content(wheel_filename(), b"PK")],
        ):
            answer = self.send_form(parts, target=f"/api/package/spam/{wheel_filename()}")
            self.check_refused(answer, 400)
        answer = self.pypid.ask(
            "POST",
            "/api/package/spam/x",
            ("Content-Type", "application/json"),
            body=b"{}",
            user="alice",
        )
        self.check_refused(answer, 400, "form")
        self.assertEqual((self.keys(), self.incoming()), ([], []))

    def test_rights(self) -> None:
        """Nobody unknown publishes (401, with a challenge), and nobody without the right (403);
        before the body is read.
        """
        for user, status in ((None, 401), ("bob", 403)):
            answer = self.send("spam", wheel_filename(), wheel(), user=user)
            self.check_refused(answer, status)
            self.assertEqual("Basic" in (answer["www-authenticate"] or ""), status == 401)
        another = ("Origin", "https://evil.example")
        answer = self.send_form(
            [content(wheel_filename(), wheel())],
            another,
            target=f"/api/package/spam/{wheel_filename()}",
            user="alice",
        )
        self.check_refused(answer, 403)
        self.assertEqual(self.keys(), [])

    def test_blind(self) -> None:
        """Who may publish and not read is told of what they sent, and of nothing that was there
        before.
        """
        pypid = crowded(Path(self.mktemp()), elsewhere(), CLOSED)
        filename, data = file_of(OWN)
        for who in ("ada", "publisher"):
            answer = self.publish(
                filename, data, target="/simple/", user=None, headers=IS[who].headers, pypid=pypid
            )
            self.published(answer)
            told = answer.json
            if who == "ada":
                self.assertEqual(told["metadata"]["uploader"], "ada")
            else:
                self.assertEqual(
                    (told["last_modified"], "uploader" in told["metadata"]), (None, False)
                )
                self.assertEqual(told["metadata"]["hash_sha256"], sha256(data).hexdigest())

    def test_own_addresses(self) -> None:
        """``/``, ``/simple/`` and ``/pypi/`` take the upload form, with their last slash or not,
        and answer in the same JSON; a form that says nothing of what it is is an upload there.
        """
        for number, target in enumerate(("/", "/simple/", "/simple", "/pypi/", "/pypi")):
            filename, data = sdist_filename("spam", f"{number}.0"), sdist("spam", f"{number}.0")
            parts = (
                [content(filename, data)]
                if number % 2
                else [text(":action", "file_upload"), content(filename, data)]
            )
            answer = self.send_form(parts, target=target)
            self.assertEqual((answer.status, answer.json["filename"]), (200, filename), target)
            again = self.send_form(parts, target=target)
            self.assertEqual(
                (again.status, "nothing was changed" in again.json["message"]), (200, True)
            )
            other = [content(filename, sdist("spam", f"{number}.0", files={"x.py": b"x"}))]
            self.refused(self.send_form(other, target=target), 400, "File already exists")
            self.refused(self.send_form([text(":action", "blah")], target=target), 400, ":action")
            for user, status in ((None, 401), ("bob", 403)):
                self.assertEqual(self.send_form(parts, target=target, user=user).status, status)
        legacy = self.publish(sdist_filename("spam", "9.0"), sdist("spam", "9.0"))
        self.assertEqual(legacy["content-type"], "text/plain; charset=utf-8")

    def test_own_addresses_blind(self) -> None:
        """There the form takes the right to publish, and no right to read."""
        pypid = crowded(Path(self.mktemp()), elsewhere(), CLOSED)
        for number, target in enumerate(("/simple/", "/pypi/")):
            name, data = wheel_filename(OWN, f"{number}.0"), wheel(OWN, f"{number}.0")
            self.published(
                self.publish(
                    name,
                    data,
                    target=target,
                    user=None,
                    headers=IS["publisher"].headers,
                    pypid=pypid,
                )
            )
        evil = ("Origin", "https://evil.example")
        answer = self.publish(
            name, data, target="/pypi/", user=None, headers=[*IS["ada"].headers, evil], pypid=pypid
        )
        self.assertEqual(answer.status, 403)


class DeleteTests(PackagesCase):
    """``DELETE /api/package/<project>/<file>``."""

    def test_deletes(self) -> None:
        """A file is gone from everywhere; a second time there is none to delete, and
        that is 400.
        """
        for suffix in ("", "/"):
            filename, _ = self.have_wheel("spam", f"{len(suffix)}.0")
            path = f"/api/package/spam/{filename}{suffix}"
            self.assertEqual(self.pypid.ask("DELETE", path, user="ada").status, 200)
            self.assertEqual(self.listed("spam"), [])
            self.assertEqual(self.pypid.get(f"/packages/spam/{filename}").status, 404)
            self.check_refused(
                self.pypid.ask("DELETE", path, user="ada"), 400, f"Could not find {filename}"
            )
        self.check_refused(
            self.pypid.ask("DELETE", "/api/package/no/no-1.0.tar.gz", user="ada"),
            400,
            "Could not find",
        )

    def test_rights(self) -> None:
        """Deleting takes both rights, to delete and to publish: ``allow_delete_groups =
        authenticated``, which was the default, let nobody delete what they could not write.
        """
        filename, _ = self.have_wheel()
        path = f"/api/package/spam/{filename}"
        for rules, user, status in (
            (Rules(write=ANN, delete=NOBODY), "alice", 403),
            (Rules(write=ANN, delete=AUTHENTICATED), "bob", 403),
            (Rules(write=ANN, delete=AUTHENTICATED), None, 401),
            (Rules(write=NOBODY, delete=AUTHENTICATED), "alice", 403),
            (
                Rules(
                    write=EVERYONE,
                    delete=AUTHENTICATED,
                    projects={"spam": Grants(read=EVERYONE, write=ANN)},
                ),
                "bob",
                403,
            ),
            (Rules(write=ANN, delete=AUTHENTICATED), "alice", 200),
        ):
            self.pypid.app.rules = rules
            self.assertEqual(
                self.pypid.ask("DELETE", path, user=user).status, status, (rules, user)
            )


class PageTests(PackagesCase):
    """``/packages/``, ``/pypi/<project>/``, ``/<project>/`` and the JSON of a project."""

    def test_every_file(self) -> None:
        """``/packages/`` links to every stored file, with its hash, from where files are; it is a
        page like others.
        """
        files = [
            self.have_wheel("spam"),
            self.have_sdist("spam", "0.5"),
            self.have_wheel("eggs", "2.0"),
        ]
        answer = self.pypid.get("/packages/")
        self.assertEqual((answer.status, answer["content-type"]), (200, "text/html; charset=utf-8"))
        for filename, data in files:
            project = filename.partition("-")[0]
            self.assertIn(
                f'<a href="{project}/{filename}#sha256={sha256(data).hexdigest()}"', answer.text
            )
            self.assertEqual(self.pypid.get(f"/packages/{project}/{filename}").body, data)
        self.assertEqual(answer.text.count("<a "), 3)
        self.assertEqual(
            self.pypid.get("/packages/", None, ("If-None-Match", answer["etag"] or "")).status, 304
        )
        self.have_wheel("more")
        self.assertIn("more-1.0", self.pypid.get("/packages/").text)

    def test_project(self) -> None:
        """A project has its page at ``/pypi/`` and at the root, too, in HTML and in JSON; its links
        lead to the files.
        """
        filename, data = self.have_wheel("my-pkg")
        for address in ("/pypi/my-pkg/", "/my-pkg/"):
            html, document = self.pypid.get(address), self.pypid.get(address, J)
            self.assertIn(filename, html.text)
            [file] = document.json["files"]
            place = file["url"].removeprefix("../" * (address.count("/") - 1))
            self.assertEqual(self.pypid.get(f"/{place}").body, data)
        for spelled, location in (("/My.Pkg/", "../my-pkg/"), ("/pypi/My_Pkg/", "../my-pkg/")):
            answer = self.pypid.get(spelled)
            self.assertEqual((answer.status, answer["location"]), (301, location), spelled)
        for address in (
            "/nothing/",
            "/pypi/nothing/",
            "/-x-/",
            "/pypi/-x-/",
            "/.env",
            "/.env/",
            "/x%00y/",
        ):
            self.assertEqual(self.pypid.get(address).status, 404, address)

    def test_other_addresses_first(self) -> None:
        """Whatever else has an address at the root keeps it, by other methods, too; what browsers
        and monitors look for there is no project; and no other index is asked for any of this.
        """
        upstream = Elsewhere()
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        self.have(pypid.index.maintenance.reconcile())
        for path, status in (
            ("/health", 200),
            ("/requirements.txt", 405),
            ("/uploadpackage/", 405),
            ("/api/", 404),
            ("/api", 404),
            ("/API/", 404),
            ("/Simple/", 404),
            ("/integrity/", 404),
            ("/favicon.ico", 404),
            ("/robots.txt", 404),
            ("/metrics", 401),
            ("/Metrics/", 404),
            ("/ready", 200),
            ("/readyz", 404),
            ("/healthz", 404),
            ("/at/", 404),
            ("/snapshots/", 404),
            ("/rss/", 404),
            ("/static/", 404),
            ("/static/1.3.12/css/base.css", 404),
        ):
            self.assertEqual(pypid.get(path).status, status, path)
        self.assertEqual(pypid.get("/uploadpackage")["allow"], "POST")
        self.assertEqual(upstream.heard, [])

    def test_mistyped_address(self) -> None:
        """A browser at an address of the root that is no stored project gets an error page with a
        link to the search, and no other index is asked; an installer's request asks it.
        """
        upstream = Elsewhere()
        pypid = Pypid(Path(self.mktemp()), policy=Policy(mode=Mode.CACHE), upstream=upstream)
        self.have(pypid.index.maintenance.reconcile())
        answer = pypid.get("/dashboard/", None, BROWSER)
        self.assertEqual((answer.status, upstream.heard), (404, []))
        self.assertIn("There is no project", answer.text)
        self.assertIn('href="../search?q=dashboard"', answer.text)
        for name, accept in (("new", PIP), ("old", "text/html, */*; q=0.01"), ("curl", "*/*")):
            self.assertEqual(pypid.get(f"/{name}/", None, ("Accept", accept)).status, 404)
        self.assertEqual(upstream.heard, ["new", "old", "curl"])

    def test_browser_at_a_project(self) -> None:
        """A browser gets the page of a local project there, as before."""
        filename, _ = self.have_wheel("spam")
        answer = self.pypid.get("/spam/", None, BROWSER)
        self.assertEqual(answer.status, 200)
        self.assertIn(filename, answer.text)

    def test_document(self) -> None:
        """The JSON of a project has every key that pypicloud's had, at both addresses the same."""
        filename, data = self.have_wheel()
        self.have_sdist("spam", "0.9")
        documents = [self.pypid.get(f"/{below}/spam/json").json for below in ("pypi", "simple")]
        self.assertEqual(documents[0], documents[1])
        [document, _] = documents
        self.assertLessEqual({"name", "license", "classifiers", "version"}, set(document["info"]))
        self.assertEqual((document["info"]["name"], document["info"]["version"]), ("spam", "1.0"))
        self.assertEqual(set(document["releases"]), {"1.0", "0.9"})
        self.assertEqual(document["urls"], document["releases"]["1.0"])
        [file] = document["urls"]
        self.assertEqual((file["filename"], file["packagetype"]), (filename, "bdist_wheel"))
        self.assertEqual(file["digests"]["sha256"], sha256(data).hexdigest())
        self.assertLessEqual({"requires_python", "md5_digest", "url"}, set(file))
        self.assertEqual(self.pypid.get(file["url"].partition(HOST)[2]).body, data)
        self.assertEqual(self.pypid.get("/simple/SPAM/json")["location"], "../spam/json")
        self.assertEqual(self.pypid.get("/simple/nothing/json").status, 404)


SECURITY = """
[app:main]
use = egg:pypicloud
pypi.storage = file
storage.dir = /srv/packages
package.spam.group.authenticated = r
package.spam.group.brotatos = rw
group.brotatos = alice
"""


class SecurityTests(PackagesCase):
    """What pypicloud's own functional tests (its ``tests/test_security.py``) ask over HTTP, with
    the same configuration.
    """

    def setUp(self) -> None:
        """Its ``user`` is bob, its ``user2`` alice."""
        super().setUp()
        rules = rules_of(parse(SECURITY, filename="config.ini"))
        self.assertEqual(
            rules.projects.names["spam"].write, Principals(groups=frozenset({"brotatos"}))
        )
        self.assertTrue(rules.projects.names["spam"].read.authenticated)
        # in this pypid nobody is in a group
        own = Grants(read=AUTHENTICATED, write=Principals(users=frozenset({"alice"})))
        self.pypid.app.rules = evolve(rules, projects={"spam": own})
        self.filename, _ = self.have_wheel()

    def test_simple(self) -> None:
        """A page is for those who may read: who is unknown is asked for a password, also where
        there is nothing.
        """
        for below in ("pypi", "simple"):
            for name in ("spam", "pkg2"):
                self.assertEqual(self.pypid.get(f"/{below}/{name}/").status, 401)
            self.assertEqual(self.pypid.get(f"/{below}/spam/", user="bob").status, 200)
            # and not sent to the public index, which would hear the name: there is none behind this
            # pypid
            self.assertEqual(self.pypid.get(f"/{below}/pkg2/", user="bob").status, 404)

    def test_api(self) -> None:
        """Reading takes the right to read, uploading and deleting the right to write."""
        self.assertEqual(self.pypid.get("/api/package/spam/").status, 401)
        self.assertEqual(self.pypid.get("/api/package/spam/", user="bob").status, 200)
        at = f"/api/package/spam/{self.filename}"
        self.assertEqual(
            self.send_form(
                [content("filename.txt", b"datadatadata")], target=f"{at}/", user="bob"
            ).status,
            403,
        )
        self.assertEqual(
            self.send("spam", wheel_filename("spam", "1.5"), wheel("spam", "1.5")).status, 200
        )
        self.assertEqual(self.pypid.ask("DELETE", at, user="bob").status, 403)
        self.assertEqual(self.pypid.ask("DELETE", at, user="alice").status, 200)
        self.assertNotIn(self.pypid.get("/api/rebuild/", user="alice").status, (200, 302))


class HiddenTests(PackagesCase):
    """What somebody may not read is in none of this."""

    def test_hidden(self) -> None:
        """Lists and pages have for each what they may read, and nothing else; whoever is
        let in sees it at once.
        """
        pypid = crowded(Path(self.mktemp()), elsewhere(), OPEN)
        for project in (PLAIN, OWN):
            self.published(
                self.publish(*file_of(project), user=None, headers=IS["ada"].headers, pypid=pypid)
            )
        self.have(pypid.index.maintenance.reconcile())
        readers = {"rita", "carol", "wendy", "dan", "ada", "token to read"}
        for who in (*ANYBODY, *ANYBODY):  # twice: others' lists are remembered
            for method, target, body in (
                ("GET", "/api/package/", None),
                ("GET", "/api/package/?verbose=true", None),
                ("GET", "/packages/", None),
            ):
                answer = pypid.ask(
                    method, target, *who.headers, ("Content-Type", "text/xml"), body=body
                )
                self.assertEqual(answer.status, 200, (who, target))
                self.assertIn(PLAIN.encode(), answer.body)
                self.assertEqual(
                    OWN.encode() in answer.body, who.name in readers, (who.name, target)
                )
        pypid.app.rules = Rules(read=EVERYONE, write=OPEN.write)
        for target in ("/api/package/", "/packages/"):
            self.assertIn(OWN, pypid.get(target).text)

    def test_closed(self) -> None:
        """Where nobody unknown reads, none of it is answered without a name (401
        with a challenge).
        """
        pypid = crowded(Path(self.mktemp()), elsewhere(), CLOSED)
        for target in (
            "/api/package/",
            "/packages/",
            "/acme-plain/",
            "/pypi/acme-plain/",
            "/simple/acme-plain/json",
        ):
            answer = pypid.get(target)
            self.assertEqual(answer.status, 401)
            self.assertIn("Basic", answer["www-authenticate"] or "")
            self.assertEqual(pypid.get(target, None, *IS["bob"].headers).status, 403)

    def test_guessing(self) -> None:
        """A wrong password is 401 here, too, though nobody needs one to read."""
        self.check_refused(self.pypid.get("/api/package/", None, basic("ada", "wrong")), 401)


class ManyTests(PackagesCase):
    """Large indexes."""

    def test_many(self) -> None:
        """Hundreds of projects are put together once, for all who see the same, until something
        changes.
        """
        for number in range(300):
            name = f"p{number:03}"
            self.published(self.publish(wheel_filename(name), wheel(name)))
        answer = self.pypid.get("/packages/")
        self.assertEqual(answer.text.count("<a "), 300)
        kept = self.pypid.app.stored_projects
        sight = self.have(self.pypid.app.visibility(ANONYMOUS))
        first = self.have(kept.projects(sight))
        self.assertIs(self.have(kept.projects(sight)), first)
        self.pypid.clock.advance(timedelta(hours=1).total_seconds())
        self.assertIs(self.have(kept.projects(sight)), first)

    def test_many_files(self) -> None:
        """What says something of many files, be they of one project, is put together off the
        reactor's thread.
        """
        self.patch(visibility, "FEW_STORED", 3)
        self.patch(pypicloud, "FEW_STORED", 3)
        apart: list[object] = []
        world = self.pypid.app.world

        async def thinking(work: Callable[..., object], *given: object) -> object:
            apart.append(work)
            return work(*given)

        counting = evolve(world, thinking=thinking)
        self.pypid.app.world = counting
        self.pypid.app.stored_projects = visibility.StoredProjects(self.pypid.index, counting)
        for number in range(4):
            self.published(
                self.publish(sdist_filename("spam", f"{number}.0"), sdist("spam", f"{number}.0"))
            )
            del apart[:]
            self.assertEqual(self.pypid.get("/packages/").text.count("<a "), number + 1)
            self.assertEqual(len(self.pypid.get("/api/package/spam/").json["packages"]), number + 1)
            self.assertEqual(len(apart), (0, 0, 1, 2)[number])
