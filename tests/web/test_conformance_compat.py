"""The older APIs over HTTP, point by point (C72, C110 to C116 of docs/reference/conformance.rst)."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urljoin, urlsplit

from attrs import evolve

from pypid.core.packaging.names import project_name
from pypid.core.permissions import AUTHENTICATED, Grants, Rules
from tests.distributions import metadata, wheel, wheel_filename
from tests.web.advised import advise, advisory
from tests.web.full_app import HOST, HTML, RULES, Answer, J, Pypid, WholeCase

INFO = """name version summary description description_content_type keywords license license_expression license_files
    classifiers author author_email maintainer maintainer_email requires_python platform downloads package_url project_url
    project_urls release_url requires_dist provides_extra docs_url bugtrack_url home_page download_url yanked yanked_reason
    dynamic""".split()  # noqa: SIM905
FILE = """filename packagetype python_version has_sig comment_text md5_digest digests core-metadata size downloads upload_time
    upload_time_iso_8601 url requires_python yanked yanked_reason""".split()  # noqa: SIM905
HATCH = re.compile(r"<a [^>]+>([^<]+)</a>")
"""How hatch reads the list of what is published."""


class LegacyJsonTests(WholeCase):
    """``/pypi/<project>/json`` and ``/pypi/<project>/<version>/json``."""

    def setUp(self) -> None:
        """Publish two releases."""
        super().setUp()
        self.have_sdist("foo-bar", "1.0")
        extra = [
            ("Requires-Dist", "eggs>=1"),
            ("Classifier", "Topic :: Food"),
            ("Project-URL", "Home, https://x.example/"),
        ]
        inside = metadata(
            "foo_bar", "2.0", requires_python=">=3.8", extra=extra, description="Grüße"
        )
        self.filename = wheel_filename("foo-bar", "2.0")
        self.published(self.publish(self.filename, wheel("foo-bar", "2.0", metadata_bytes=inside)))

    def ask_json(self, path: str, *headers: tuple[str, str]) -> Answer:
        return self.pypid.get(path, None, *headers)

    def test_vulnerabilities(self) -> None:
        """With advisories the release has those that hit it; without a source the key is left
        out.
        """
        record = advisory("PYSEC-1", ("foo_bar", "0", "2.0"), aliases=["CVE-1"])
        own = advisory("ACME-1", ("foo-bar", "0", "2.0"), ("hidden", "0", None), summary="hidden!")
        self.pypid.app.rules = evolve(RULES, projects={project_name("hidden"): Grants()})
        advisories = advise(self.pypid, Path(self.mktemp()), [record], [own])
        self.assertEqual(self.ask_json("/pypi/foo-bar/json").json["vulnerabilities"], [])
        mine, found = self.ask_json("/pypi/foo-bar/1.0.0/json").json["vulnerabilities"]
        self.assertEqual((mine["id"], mine["summary"]), ("ACME-1", ""))
        expected = {
            "aliases": ["CVE-1"],
            "details": "Summary of PYSEC-1",
            "fixed_in": ["2.0"],
            "id": "PYSEC-1",
            "link": f"http://{HOST}/osv/v1/vulns/PYSEC-1",
            "source": "osv",
            "summary": "Summary of PYSEC-1",
            "withdrawn": None,
        }
        self.assertEqual(found, expected)
        path = urlsplit(found["link"]).path
        self.assertEqual(self.ask_json(path).json, record)
        advise(self.pypid, Path(self.mktemp()), [])
        self.assertEqual(self.ask_json("/pypi/foo-bar/1.0/json").json["vulnerabilities"], [])
        for folder in (None, Path(self.mktemp())):  # no source, and one that was not read yet
            self.pypid.app.advisories = type(advisories)(self.pypid.world, folder)
            self.assertNotIn("vulnerabilities", self.ask_json("/pypi/foo-bar/1.0/json").json)

    def test_project(self) -> None:
        """A project has all keys, and is described by its newest release (C110)."""
        answer = self.ask_json("/pypi/foo-bar/json")
        self.assertEqual((answer.status, answer["content-type"]), (200, "application/json"))
        document = answer.json
        self.assertEqual(set(document), {"info", "last_serial", "ownership", "urls", "releases"})
        self.assertLessEqual(set(INFO), set(document["info"]))
        info = document["info"]
        self.assertEqual(
            (info["version"], info["requires_dist"], info["description"]),
            ("2.0", ["eggs>=1"], "Grüße"),
        )
        self.assertEqual(info["project_urls"], {"Home": "https://x.example/"})
        self.assertEqual(list(document["releases"]), ["1.0", "2.0"])
        [file] = document["urls"]
        self.assertEqual(set(FILE), set(file))
        self.assertEqual(self.pypid.get(urlsplit(file["url"]).path).status, 200)
        self.assertEqual(answer["x-pypi-last-serial"], str(document["last_serial"]))

    def test_release(self) -> None:
        """A release has its own files, by any spelling of its version, and no
        others' (C110, C80).
        """
        for version in ("1.0", "1", "1.0.0", "v1.0"):
            document = self.ask_json(f"/pypi/foo-bar/{version}/json").json
            self.assertEqual(document["info"]["version"], "1.0")
            self.assertEqual(
                [file["filename"] for file in document["urls"]], ["foo_bar-1.0.tar.gz"]
            )
            self.assertNotIn("releases", document)

    def test_missing(self) -> None:
        """What is not there is 404 (C110)."""
        paths = (
            "/pypi/nothing/json",
            "/pypi/foo-bar/9/json",
            "/pypi/foo-bar/x/json",
            "/pypi/-/json",
            "/pypi/foo-bar/%00/json",
        )
        for path in paths:
            self.assertEqual(self.ask_json(path).status, 404, path)

    def test_latest(self) -> None:
        """A pre-release or a yanked release does not describe the project while there is another
        (C110).
        """
        self.have_wheel("foo-bar", "3.0rc1")
        self.assertEqual(self.ask_json("/pypi/foo-bar/json").json["info"]["version"], "2.0")
        self.pypid.api("PUT", "/api/projects/foo-bar/releases/2.0/yank", {"reason": "bad"})
        document = self.ask_json("/pypi/foo-bar/json").json
        self.assertEqual(document["info"]["version"], "1.0")
        yanked = self.ask_json("/pypi/foo-bar/2.0/json").json
        self.assertEqual((yanked["info"]["yanked"], yanked["info"]["yanked_reason"]), (True, "bad"))
        self.assertEqual([file["yanked"] for file in document["releases"]["2.0"]], [True])

    def test_urls(self) -> None:
        """File URLs are absolute, below /packages/ (C112), on the host that was asked, or on
        public_url (C110).
        """
        url = self.ask_json("/pypi/foo-bar/json").json["urls"][0]["url"]
        self.assertEqual(url, f"http://{HOST}/packages/foo-bar/{self.filename}")
        public = Pypid(self.spool, public_url="https://py.example/pre/")
        self.publish(self.filename, wheel("foo-bar", "2.0"), pypid=public)
        url = public.get("/pypi/foo-bar/json").json["urls"][0]["url"]
        self.assertEqual(url, f"https://py.example/pre/packages/foo-bar/{self.filename}")


class ClassifierTests(WholeCase):
    """What old distutils asks."""

    def test_list(self) -> None:
        """The classifiers are plain text, one a line (C72)."""
        for target in ("/pypi?:action=list_classifiers", "/pypi/?%3Aaction=list_classifiers"):
            answer = self.pypid.get(target)
            self.assertEqual(
                (answer.status, answer["content-type"]), (200, "text/plain; charset=utf-8")
            )
            self.assertIn("Programming Language :: Python :: 3", answer.text.splitlines())

    def test_nothing_else(self) -> None:
        """Without an action the list of projects is what is meant (C72)."""
        for target in ("/pypi", "/pypi/"):
            answer = self.pypid.get(target)
            self.assertEqual(
                urljoin(f"http://{HOST}{target}", answer["location"]), f"http://{HOST}/simple/"
            )


class HatchTests(WholeCase):
    """What hatch asks before it publishes, and where it sends people after."""

    def test_plus_simple(self) -> None:
        """Below every upload URL, + quoted or raw, there is HTML that hatch's regular expression
        reads (C115).
        """
        filename, _ = self.have_wheel("foo", requires_python=">=3.8,<4")
        self.pypid.api("PUT", "/api/projects/foo/releases/1.0/yank", {"reason": "a > b"})
        for upload in ("/legacy", "/simple", ""):
            for plus in ("%2Bsimple", "+simple", "%2bsimple"):
                for headers in ((), (("Accept", "*/*"),), (("Accept", J),)):
                    path = f"{upload}/{plus}/foo/"
                    answer = self.pypid.get(path, None, *headers)
                    self.assertEqual((answer.status, answer["content-type"]), (200, HTML), path)
                    self.assertEqual(HATCH.findall(answer.text), [filename])
                    href = re.search(r'href="([^"#]+)', answer.text)
                    assert href is not None
                    where = urljoin(f"http://{HOST}{path}", href[1])
                    self.assertEqual(self.pypid.get(urlsplit(where).path).status, 200, where)

    def test_new_project(self) -> None:
        """A project that does not exist yet is 404 there, which hatch takes for nothing published
        (C115).
        """
        self.assertEqual(self.pypid.get("/legacy/%2Bsimple/foo/", "*/*").status, 404)

    def test_project_page(self) -> None:
        """The address that hatch prints after publishing leads to the project's page (C115)."""
        self.have_wheel("foo")
        for path in ("/legacy/foo/1.0/", "/legacy/Foo/", "/legacy/foo/1.0"):
            answer = self.pypid.get(path)
            self.assertEqual(answer.status, 302)
            self.assertEqual(
                urljoin(f"http://{HOST}{path}", answer["location"]), f"http://{HOST}/simple/foo/"
            )


class BrowserTests(WholeCase):
    """micropip, in a browser, on a page of another site."""

    PATHS = (
        "/simple/",
        "/simple/foo/",
        "/pypi/foo/json",
        "/pypi/foo/1.0/json",
        f"/packages/foo/{wheel_filename('foo')}",
    )

    def setUp(self) -> None:
        super().setUp()
        self.pypid.site.cors = ("*",)

    def test_off_by_default(self) -> None:
        """Without `[server] cors` no other site's script may read anything (C116)."""
        self.have_wheel("foo")
        self.pypid.site.cors = ()
        for path in (*self.PATHS, "/simple/FOO/", "/simple/nothing/"):
            for method in ("GET", "OPTIONS"):
                answer = self.pypid.ask(method, path, ("Origin", "https://pyodide.example"))
                self.assertIsNone(answer["access-control-allow-origin"], path)
                self.assertIsNone(answer["access-control-allow-methods"], path)

    def test_listed_origins(self) -> None:
        """Listed origins may read, others may not, and caches are told that
        answers differ (C116).
        """
        self.have_wheel("foo")
        self.pypid.site.cors = ("https://notebooks.example",)
        for path in (*self.PATHS, "/simple/FOO/", "/simple/nothing/"):
            for origin, allowed in (
                ("https://Notebooks.example", "https://Notebooks.example"),
                ("https://evil.example", None),
                ("https://notebooks.example.evil.example", None),
                ("null", None),
            ):
                answer = self.pypid.get(path, None, ("Origin", origin))
                self.assertEqual(answer["access-control-allow-origin"], allowed, (path, origin))
                if answer.status != 404:  # errors are in no cache
                    self.assertIn("Origin", answer["vary"] or "", path)
            plain = self.pypid.get(path)
            self.assertTrue(plain.status == 404 or "Origin" in (plain["vary"] or ""), path)
        self.assertEqual(plain["access-control-allow-origin"], None)
        asked = self.pypid.ask("OPTIONS", "/simple/", ("Origin", "https://notebooks.example"))
        self.assertIn("GET", asked["access-control-allow-methods"] or "")

    def test_get(self) -> None:
        """Everybody's pages, JSON and files may be read by any site, which also sees the serial
        (C116).
        """
        self.have_wheel("foo")
        for path in (*self.PATHS, f"{self.PATHS[-1]}.metadata"):
            answer = self.pypid.get(path, None, ("Origin", "https://pyodide.example"))
            self.assertEqual(
                (answer.status, answer["access-control-allow-origin"]), (200, "*"), path
            )
            self.assertIn("X-PyPI-Last-Serial", answer["access-control-expose-headers"] or "")

    def test_preflight(self) -> None:
        """OPTIONS allows GET with conditions and ranges (C116)."""
        for path in self.PATHS:
            asked = (
                ("Origin", "https://pyodide.example"),
                ("Access-Control-Request-Method", "GET"),
            )
            answer = self.pypid.ask("OPTIONS", path, *asked)
            self.assertEqual((answer.status, answer.body), (204, b""))
            self.assertEqual(answer["access-control-allow-origin"], "*")
            self.assertIn("GET", answer["access-control-allow-methods"] or "")
            for name in ("If-None-Match", "Range", "Content-Type"):
                self.assertIn(name, answer["access-control-allow-headers"] or "")
            self.assertEqual(answer["access-control-max-age"], "86400")

    def test_private(self) -> None:
        """What not everybody may read no other site's script may read: no header, and the preflight
        is 401 (C116).
        """
        private = Pypid(self.spool, rules=Rules(read=AUTHENTICATED, write=RULES.write))
        private.site.cors = ("*",)
        self.publish(wheel_filename("foo"), wheel("foo"), pypid=private)
        for path in self.PATHS:
            answer = private.get(path, None, ("Origin", "https://pyodide.example"), user="alice")
            self.assertEqual((answer.status, answer["access-control-allow-origin"]), (200, None))
            for user, status in ((None, 401), ("alice", 204)):
                preflight = private.ask(
                    "OPTIONS", path, ("Origin", "https://pyodide.example"), user=user
                )
                self.assertEqual(
                    (preflight.status, preflight["access-control-allow-origin"]), (status, None)
                )


class FrontTests(WholeCase):
    """The first page, and /health."""

    def test_home(self) -> None:
        """The first page names this index's own addresses, escaped (C118)."""
        answer = self.pypid.get("/")
        self.assertIn(f"http://{HOST}/simple/", answer.text)
        self.assertIn(f"http://{HOST}/legacy/", answer.text)

    def test_health(self) -> None:
        """/health answers anybody, and tells whether the storage has been compared."""
        well = {"status": "ok", "ready": True, "access": True, "cache": True, "storage": True}
        self.pypid = Pypid(self.spool, blobs=self.pypid.blobs)
        self.assertEqual(self.pypid.get("/health").json, {**well, "complete": False})
        self.have(self.pypid.index.maintenance.reconcile())
        self.assertEqual(self.pypid.get("/health").json, {**well, "complete": True})
