"""The Simple API over HTTP, point by point (C1 to C33, C100 to C103,
C118 of docs/reference/conformance.rst).
"""

from __future__ import annotations

import gzip
import re
from hashlib import sha256
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path
from urllib.parse import unquote, urljoin, urlsplit
from zipfile import ZipFile

import attrs

from pypid.core.permissions import Principals, Rules
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.web.full_app import HOST, HTML, PRIVATE, H, J, Pypid, WholeCase

PIP = f"{J}, {H}; q=0.1, text/html; q=0.01"
UV = f"{J}, {H};q=0.2, text/html;q=0.01"
SPELLINGS = ("Foo.Bar_baz", "FOO-BAR-BAZ", "foo-bar..baz", "foo_bar.baz", "foo._-bar--baz")


class Links(HTMLParser):
    """The links of a page with their attributes and texts, and its meta tags."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.links: list[tuple[dict[str, str | None], str]] = []
        self.meta: dict[str, str | None] = {}
        self._open = False
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a":
            self._open = True
            self.links.append((dict(attrs), ""))
        elif tag == "meta" and (name := dict(attrs).get("name")):
            self.meta[name] = dict(attrs).get("content")

    def handle_endtag(self, tag: str) -> None:
        self._open = self._open and tag != "a"

    def handle_data(self, data: str) -> None:
        if self._open:
            attributes, said = self.links[-1]
            self.links[-1] = (attributes, said + data)

    @property
    def by_text(self) -> dict[str, dict[str, str | None]]:
        """The attributes of each link."""
        return {said: attributes for attributes, said in self.links}


class NegotiationTests(WholeCase):
    """Which representation a client gets."""

    def setUp(self) -> None:
        """Publish something."""
        super().setUp()
        self.have_wheel("foo")

    def kind(self, accept: str | None, target: str = "/simple/foo/") -> tuple[int, str | None]:
        answer = self.pypid.get(target, accept)
        return answer.status, answer["content-type"]

    def test_no_accept(self) -> None:
        """Without Accept the list and a page are plain HTML of version 1.4 (C1)."""
        for target in ("/simple/", "/simple/foo/"):
            answer = self.pypid.get(target)
            self.assertEqual((answer.status, answer["content-type"]), (200, HTML))
            self.assertTrue(answer.text.startswith("<!DOCTYPE html>\n"))
            self.assertEqual(Links(answer.text).meta["pypi:repository-version"], "1.4")

    def test_anything(self) -> None:
        """``*/*`` is HTML, which hatch and pipenv read (C2)."""
        for target in ("/simple/", "/simple/foo/"):
            self.assertEqual(self.kind("*/*", target), (200, HTML))

    def test_json(self) -> None:
        """JSON comes with exactly its type, and says its version (C3)."""
        for target in ("/simple/", "/simple/foo/"):
            answer = self.pypid.get(target, J)
            self.assertEqual((answer.status, answer["content-type"]), (200, J))
            self.assertEqual(answer.json["meta"]["api-version"], "1.4")

    def test_clients(self) -> None:
        """pip (C4), uv (C5), poetry (C6) and pypi-simple (C7) get JSON by the headers that they
        send.
        """
        for accept in (PIP, UV, f"{J}, */*;q=0.1", f"{J}, {H}, text/html;q=0.01"):
            self.assertEqual(self.kind(accept), (200, J), accept)
            self.assertEqual(self.kind(accept, "/simple/"), (200, J), accept)

    def test_html_v1(self) -> None:
        """Who likes the versioned HTML best gets it under its own name (C8)."""
        self.assertEqual(self.kind(f"{J};q=0.1, {H}"), (200, H))

    def test_qualities(self) -> None:
        """Qualities decide (C9), and q=0 refuses (C10)."""
        self.assertEqual(self.kind(f"text/html, {J};q=0.5"), (200, HTML))
        self.assertEqual(self.kind(f"{J};q=0, */*"), (200, HTML))
        self.assertEqual(self.kind("text/html;q=0.1, " + J), (200, J))

    def test_latest(self) -> None:
        """``latest`` is answered as v1 (C11)."""
        self.assertEqual(self.kind("application/vnd.pypi.simple.latest+json"), (200, J))
        self.assertEqual(self.kind("application/vnd.pypi.simple.latest+html"), (200, H))

    def test_not_acceptable(self) -> None:
        """A version that does not exist is 406, which lists what there is (C12)."""
        for target in ("/simple/", "/simple/foo/"):
            answer = self.pypid.get(target, "application/vnd.pypi.simple.v2+json")
            self.refused(answer, 406, J, H, "text/html")

    def test_application(self) -> None:
        """``application/*`` is one of the application types, as it says (C13)."""
        self.assertIn(self.kind("application/*"), ((200, J), (200, H)))

    def test_format(self) -> None:
        """``?format=`` goes before Accept, with its + quoted or raw; an unknown one
        is 406 (C14).
        """
        for quoted in (J, J.replace("+", "%2B"), J.replace("+", "%2b"), J.replace("/", "%2F")):
            for target in ("/simple/foo/", "/simple/"):
                self.assertEqual(
                    self.kind("text/html", f"{target}?format={quoted}"), (200, J), quoted
                )
        for odd in ("bogus", "", "%00", "%ff%fe", J + "%0d%0aX:%20y", "x" * 5000):
            self.assertEqual(
                self.pypid.get(f"/simple/foo/?format={odd}", "text/html").status, 406, odd
            )
        self.assertEqual(self.kind("text/html", f"/simple/foo/?format={J}&format=bogus"), (200, J))
        self.assertEqual(self.kind("text/html", "/simple/foo/?other=1&format"), (200, HTML))

    def test_vary(self) -> None:
        """Vary names Accept on 200, 304 and 406 (C15), and Accept-Encoding where a page is sent
        (C103).
        """
        page = self.pypid.get("/simple/foo/", J)
        same = self.pypid.get("/simple/foo/", J, ("If-None-Match", page["etag"] or ""))
        wrong = self.pypid.get("/simple/foo/", "image/png")
        self.assertEqual([page.status, same.status, wrong.status], [200, 304, 406])
        for answer in (page, same, wrong):
            self.assertIn("Accept", re.split(r",\s*", answer["vary"] or ""))
        for answer in (page, same):
            self.assertIn("Accept-Encoding", re.split(r",\s*", answer["vary"] or ""))

    def test_odd_headers(self) -> None:
        """An Accept of any bytes is answered, never with a 500 (C14)."""
        for accept in (
            "",
            ",",
            ";;;",
            "\xff\xfe",
            "a" * 8000,
            "text/html;q=1e999",
            "*/*;q=\u0661".encode().decode("latin-1"),
        ):
            self.assertIn(self.pypid.get("/simple/foo/", accept).status, (200, 406), accept)

    def test_two_accept_headers(self) -> None:
        """Several Accept headers are one list (RFC 9110, 5.3; C9)."""
        answer = self.pypid.get("/simple/foo/", "text/html;q=0.1", ("Accept", J))
        self.assertEqual(answer["content-type"], J)


class AbsoluteUrlTests(WholeCase):
    """JSON pages for clients that do not resolve URLs (micropip)."""

    ORIGIN = ("Origin", "https://notebooks.example")

    def urls(self, path: str, accept: str | None = J, *lines: tuple[str, str]) -> str:
        """The text of the page."""
        return self.pypid.get(path, accept, *lines).text

    def test_browsers_get_absolute_urls_in_json(self) -> None:
        """A request with an Origin gets absolute URLs in JSON; without one, and in HTML, they stay
        relative.
        """
        self.have_wheel("foo")
        name = wheel_filename("foo")
        for path, where in (("/simple/foo/", "packages/foo"), ("/local/foo/", "local/foo")):
            self.assertIn(f'"http://{HOST}/{where}/{name}"', self.urls(path, J, self.ORIGIN), path)
            self.assertNotIn("http://", self.urls(path), path)
            self.assertNotIn("http://", self.urls(path, None, self.ORIGIN), path)
            self.assertIn(f'"http://{HOST}/{where}/{name}"', self.urls(path, J, self.ORIGIN), path)

    def test_clients_of_public_url_get_absolute_urls_in_json(self) -> None:
        """So do those who ask by public_url; by another name URLs are relative, since passwords
        belong to a host.
        """
        for public_url, absolute in (
            (f"https://{HOST}/python/", True),
            ("https://other.example/", False),
        ):
            self.pypid.app.settings = attrs.evolve(self.pypid.app.settings, public_url=public_url)
            self.pypid.site.public_url = public_url
            self.have_wheel("foo")
            page = self.urls("/simple/foo/")
            self.assertEqual(
                f'"{public_url}packages/foo/{wheel_filename("foo")}"' in page, absolute
            )
            self.assertEqual('"../../packages/' in page, not absolute)


class AddressTests(WholeCase):
    """Where pages are."""

    def test_head(self) -> None:
        """HEAD has the head of GET and no body, in every representation (C16)."""
        self.have_wheel("foo")
        for target in ("/simple/", "/simple/foo/", "/simple/nothing/", "/simple", "/simple/FOO/"):
            for accept in (J, H, "text/html", "image/png"):
                for encoding in ("identity", "gzip"):
                    wish = (("Accept", accept), ("Accept-Encoding", encoding))
                    get, head = (
                        self.pypid.ask("GET", target, *wish),
                        self.pypid.ask("HEAD", target, *wish),
                    )
                    self.assertEqual(head.status, get.status)
                    self.assertEqual(head.head, get.head, target)

    def test_no_slash(self) -> None:
        """Without its slash an address leads to the one with it; the query stays, and caches are
        told how long (C17).
        """
        self.have_wheel("foo")
        for target, goal in (
            ("/simple", "/simple/"),
            ("/simple?a=b%2Bc&d", "/simple/?a=b%2Bc&d"),
            ("/simple/foo", "/simple/foo/"),
            (f"/simple/foo?format={J}", f"/simple/foo/?format={J}"),
        ):
            answer = self.pypid.get(target)
            self.assertEqual(answer.status, 301)
            self.assertEqual(
                urljoin(f"http://index.example{target}", answer["location"]),
                f"http://index.example{goal}",
            )
            self.assertIn("max-age=", answer["cache-control"] or "")

    def test_spellings(self) -> None:
        """Another spelling leads to the normalised name, with its query (C18), and all of them are
        one project (C19).
        """
        self.have_wheel("foo-bar-baz")
        for name in SPELLINGS:
            answer = self.pypid.get(f"/simple/{name}/?x=1")
            self.assertEqual(answer.status, 301)
            goal = urljoin(f"http://index.example/simple/{name}/?x=1", answer["location"])
            self.assertEqual(goal, "http://index.example/simple/foo-bar-baz/?x=1")
        self.assertEqual(self.pypid.get("/simple/%66oo-bar-baz/").status, 200)

    def test_one_project_however_published(self) -> None:
        """Files that spell the name in several ways are on one page (C19)."""
        for version, name in enumerate(SPELLINGS):
            filename = sdist_filename(name, str(version))
            self.published(self.publish(filename, sdist(name, str(version))))
        self.assertEqual(self.pypid.names(), ["foo-bar-baz"])
        self.assertEqual(len(self.pypid.page("foo-bar-baz")["files"]), len(SPELLINGS))

    def test_no_names(self) -> None:
        """What cannot be a name is 404, in one answer and without a redirect (C20)."""
        odd = (
            "-x",
            "x-",
            ".",
            "_",
            "%00",
            "a%00b",
            "..%2f",
            "..%2f..%2fetc",
            "%2e%2e",
            "a" * 300,
            "caf%C3%A9",
            "%ff",
            "a%20b",
        )
        for name in odd:
            for slash in ("/", ""):
                for kind in (J, "text/html"):
                    self.assertEqual(
                        self.pypid.get(f"/simple/{name}{slash}", kind).status, 404, name
                    )
        for path in (
            "/simple//",
            "/simple//foo/",
            "/simple/foo//",
            "/./simple/",
            "/simple/../simple/",
            "/SIMPLE/",
        ):
            self.assertEqual(self.pypid.get(path).status, 404, path)

    def test_unknown_project(self) -> None:
        """An unknown project is 404 in every representation, and its text names it (C21)."""
        for kind in (J, H, "text/html", "*/*"):
            self.refused(self.pypid.get("/simple/nothing/", kind), 404, "nothing")


class PageTests(WholeCase):
    """What pages say."""

    def setUp(self) -> None:
        """Publish files with all that a page can say."""
        super().setUp()
        self.wheel, self.wheel_data = self.have_wheel("foo", "1.0", requires_python=">=3.8, <4")
        self.sdist, self.sdist_data = self.have_sdist("foo", "1.0")
        self.pypid.clock.advance(86400.25)
        self.have_wheel("foo", "2.0")
        self.have_wheel("foo", "1!3.0+cu118.x")

    def test_keys(self) -> None:
        """The JSON page has the name, each version once, and of each file what
        is mandatory (C22).
        """
        page = self.pypid.page("foo")
        self.assertEqual(page["name"], "foo")
        self.assertEqual(page["versions"], ["1.0", "2.0", "1!3.0+cu118.x"])
        self.assertEqual(len(page["files"]), 4)
        for file in page["files"]:
            data = self.pypid.get(urlsplit(urljoin("http://h/simple/foo/", file["url"])).path).body
            self.assertEqual(file["hashes"], {"sha256": sha256(data).hexdigest()})
            self.assertEqual((type(file["size"]), file["size"]), (int, len(data)))

    def test_no_nulls(self) -> None:
        """Optional keys have a value or are not there; yanked is a bool or a text (C23)."""
        self.pypid.api("PUT", f"/api/projects/foo/files/{self.wheel}/yank", {"reason": "bad"})
        self.pypid.api("PUT", f"/api/projects/foo/files/{self.sdist}/yank")
        for file in self.pypid.page("foo")["files"]:
            for key, value in file.items():
                self.assertNotIn(value, (None, ""), key)
            self.assertIn(type(file["yanked"]), (bool, str))
        self.assertEqual(self.pypid.file_on("foo", self.wheel)["yanked"], "bad")
        self.assertIs(self.pypid.file_on("foo", self.sdist)["yanked"], True)

    def test_upload_time(self) -> None:
        """The time of the upload is as PEP 700 writes it (C24)."""
        times = [file["upload-time"] for file in self.pypid.page("foo")["files"]]
        for moment in times:
            self.assertRegex(moment, r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z$")
        self.assertIn("2026-01-01T00:00:01.500000Z", times)
        self.assertIn("2026-01-02T00:00:01.750000Z", times)

    def test_urls(self) -> None:
        """The last segment of a file's URL is its name (C25), and the path begins with /packages/
        (C112).
        """
        for file in self.pypid.page("foo")["files"]:
            path = urlsplit(urljoin("http://index.example/simple/foo/", file["url"])).path
            self.assertEqual(unquote(path.rpartition("/")[2]), file["filename"])
            self.assertTrue(path.startswith("/packages/"))

    def test_core_metadata(self) -> None:
        """The metadata beside a wheel are the very bytes inside, with the hash that the page says
        (C26).
        """
        file = self.pypid.file_on("foo", self.wheel)
        served = self.pypid.get(f"/packages/foo/{self.wheel}.metadata")
        with ZipFile(BytesIO(self.wheel_data)) as archive:
            self.assertEqual(served.body, archive.read("foo-1.0.dist-info/METADATA"))
        self.assertEqual(file["core-metadata"], {"sha256": sha256(served.body).hexdigest()})
        self.assertNotIn(
            "dist-info-metadata", file
        )  # pip 22.3 to 23.1 crash on an object there (PEP 714)

    def test_core_metadata_only_where_there_is_some(self) -> None:
        """What is not stored is not advertised, and 404 (C26): an sdist of the old
        kind has none.
        """
        self.assertNotIn("core-metadata", self.pypid.file_on("foo", self.sdist))
        self.refused(
            self.pypid.get(f"/packages/foo/{self.sdist}.metadata"), 404, f"{self.sdist}.metadata"
        )

    def test_static_sdist(self) -> None:
        """An sdist whose metadata the build cannot change has them served (C26)."""
        filename, _ = self.have_sdist("foo", "4.0", metadata_version="2.2")
        file, served = (
            self.pypid.file_on("foo", filename),
            self.pypid.get(f"/packages/foo/{filename}.metadata"),
        )
        self.assertEqual(file["core-metadata"], {"sha256": sha256(served.body).hexdigest()})
        self.assertIn(b"Metadata-Version: 2.2\n", served.body)

    def test_html_says_what_json_says(self) -> None:
        """HTML attributes mirror the JSON keys, escaped; nothing says that there is no metadata
        (C27).
        """
        self.pypid.api(
            "PUT", f"/api/projects/foo/files/{self.wheel}/yank", {"reason": 'a "b" <c> & d'}
        )
        html = self.pypid.get("/simple/foo/").text
        links = Links(html).by_text
        page = self.pypid.page("foo")
        self.assertEqual(list(links), [file["filename"] for file in page["files"]])
        for file in page["files"]:
            link = links[file["filename"]]
            self.assertEqual(link["href"], f"{file['url']}#sha256={file['hashes']['sha256']}")
            self.assertEqual(link.get("data-requires-python"), file.get("requires-python"))
            said = f"sha256={file['core-metadata']['sha256']}" if "core-metadata" in file else None
            self.assertEqual(link.get("data-core-metadata"), said)
            self.assertEqual(link.get("data-dist-info-metadata"), said)
            yanked = file["yanked"]
            self.assertEqual(
                link.get("data-yanked"),
                None if yanked is False else "" if yanked is True else yanked,
            )
        self.assertIn("&gt;=3.8", html)
        self.assertNotIn('data-core-metadata="false"', html)
        self.assertNotIn('data-core-metadata=""', html)

    def test_yanked_round_trip(self) -> None:
        """A reason of any characters comes back in JSON and in HTML (C29)."""
        for reason in (
            'a "b" <c>',
            "&amp; 'x' \\",
            "zurückgezogen \U0001f40d",
            "two\nlines",
            " why \n",
            "</a><script>",
            "]]>",
        ):
            answer = self.pypid.api(
                "PUT", f"/api/projects/foo/files/{self.wheel}/yank", {"reason": reason}
            )
            self.assertEqual(answer.status, 200)
            self.assertEqual(self.pypid.file_on("foo", self.wheel)["yanked"], reason)
            html = self.pypid.get("/simple/foo/").text
            self.assertEqual(Links(html).by_text[self.wheel]["data-yanked"], reason)
            self.assertNotIn("<script>", html)

    def test_yank_of_a_release(self) -> None:
        """A whole release is yanked and unyanked at once; an installer sees each
        file marked (C30).
        """
        self.pypid.api("PUT", "/api/projects/foo/releases/1.0.0/yank", {"reason": "bad"})
        said = {file["filename"]: file["yanked"] for file in self.pypid.page("foo")["files"]}
        self.assertEqual(
            {name for name, yanked in said.items() if yanked == "bad"}, {self.wheel, self.sdist}
        )
        self.pypid.api("DELETE", "/api/projects/foo/releases/1.0/yank")
        self.assertEqual({file["yanked"] for file in self.pypid.page("foo")["files"]}, {False})

    def test_no_rejected_keys(self) -> None:
        """Nothing of PEP 708, which was rejected, and nothing of PEP 752, which would be version
        1.5 (C32).
        """
        page = self.pypid.page("foo")
        self.assertEqual(set(page), {"meta", "name", "project-status", "versions", "files"})
        self.assertEqual(set(page["meta"]), {"api-version", "_last-serial"})
        root = self.pypid.get("/simple/", J).json
        self.assertEqual(set(root), {"meta", "projects"})

    def test_list(self) -> None:
        """The list has each name with its serial, and its HTML links lead to the pages (C33)."""
        self.have_wheel("bar")
        root = self.pypid.get("/simple/", J)
        self.assertEqual([project["name"] for project in root.json["projects"]], ["bar", "foo"])
        for project in root.json["projects"]:
            page = self.pypid.page(project["name"])
            self.assertEqual(project["_last-serial"], page["meta"]["_last-serial"])
        self.assertEqual(
            root.json["meta"]["_last-serial"], max(p["_last-serial"] for p in root.json["projects"])
        )
        for attributes, said in Links(self.pypid.get("/simple/").text).links:
            path = urlsplit(urljoin("http://h/simple/", attributes["href"])).path
            self.assertEqual(path, f"/simple/{said}/")
            self.assertEqual(self.pypid.get(path).status, 200)

    def test_an_empty_index(self) -> None:
        """The list of an empty index is a list (C33)."""
        empty = Pypid(self.spool)
        self.assertEqual(empty.get("/simple/", J).json["projects"], [])
        self.assertEqual(Links(empty.get("/simple/").text).links, [])

    def test_provenance_is_not_claimed(self) -> None:
        """A file without attestations has no provenance key, and its provenance is 404 (C31)."""
        self.assertNotIn("provenance", self.pypid.file_on("foo", self.wheel))
        self.assertNotIn("data-provenance", self.pypid.get("/simple/foo/").text)
        self.refused(self.pypid.get(f"/integrity/foo/1.0/{self.wheel}/provenance"), 404)


class StatusTests(WholeCase):
    """Project status markers (PEP 792)."""

    def setUp(self) -> None:
        """Publish a file."""
        super().setUp()
        self.filename, self.data = self.have_wheel("foo")

    def mark(self, status: str, reason: str = "") -> None:
        answer = self.pypid.api(
            "PUT", "/api/projects/foo/status", {"status": status, "reason": reason}
        )
        self.assertEqual(answer.status, 200, answer)

    def test_active(self) -> None:
        """A project is active until somebody says otherwise, in JSON and HTML (C28)."""
        self.assertEqual(self.pypid.page("foo")["project-status"], {"status": "active"})
        self.assertEqual(
            Links(self.pypid.get("/simple/foo/").text).meta["pypi:project-status"], "active"
        )

    def test_archived(self) -> None:
        """An archived project says so with its reason, serves its files and takes no more (C28)."""
        self.mark("archived", 'see "bar" & <co>')
        self.assertEqual(
            self.pypid.page("foo")["project-status"],
            {"status": "archived", "reason": 'see "bar" & <co>'},
        )
        meta = Links(self.pypid.get("/simple/foo/").text).meta
        self.assertEqual(meta["pypi:project-status"], "archived")
        self.assertEqual(meta["pypi:project-status-reason"], 'see "bar" & <co>')
        self.assertEqual(self.pypid.get(f"/packages/foo/{self.filename}").body, self.data)
        new = self.publish(wheel_filename("foo", "2.0"), wheel("foo", "2.0"))
        self.refused(new, 403, "archived", "administrator")
        self.assertEqual(len(self.pypid.page("foo")["files"]), 1)
        self.assertEqual(self.incoming(), [])

    def test_quarantined(self) -> None:
        """A quarantined project lists nothing, gives nothing, takes nothing, and is not on the list
        (C28).
        """
        self.mark("quarantined", "malware")
        page = self.pypid.page("foo")
        self.assertEqual(
            (page["project-status"]["status"], page["files"], page["versions"]),
            ("quarantined", [], []),
        )
        self.assertEqual(Links(self.pypid.get("/simple/foo/").text).links, [])
        for target in (self.filename, f"{self.filename}.metadata"):
            for method in ("GET", "HEAD"):
                self.assertEqual(self.pypid.ask(method, f"/packages/foo/{target}").status, 404)
        self.refused(
            self.publish(wheel_filename("foo", "2.0"), wheel("foo", "2.0")), 403, "quarantined"
        )
        self.assertEqual(self.pypid.names(), [])
        self.assertNotIn("foo", self.pypid.get("/simple/").text)
        self.assertEqual(self.pypid.get("/pypi/foo/json").status, 404)

    def test_deprecated(self) -> None:
        """A deprecated project takes and gives files (C28)."""
        self.mark("deprecated")
        self.have_wheel("foo", "2.0")
        page = self.pypid.page("foo")
        self.assertEqual(
            (page["project-status"], len(page["files"])), ({"status": "deprecated"}, 2)
        )
        self.assertEqual(self.pypid.names(), ["foo"])

    def test_back(self) -> None:
        """Once active again all is as it was (C28)."""
        self.mark("quarantined")
        self.mark("active")
        self.assertEqual(self.pypid.names(), ["foo"])
        self.assertEqual(self.pypid.get(f"/packages/foo/{self.filename}").body, self.data)
        self.have_wheel("foo", "2.0")


class CachingTests(WholeCase):
    """What caches are told of pages."""

    def setUp(self) -> None:
        """Publish enough for a page that is worth a gzip."""
        super().setUp()
        for minor in range(5):
            self.have_wheel("foo", f"1.{minor}", requires_python=">=3.8")

    def test_etags(self) -> None:
        """Each representation and encoding has an entity tag of its own, by which it is 304 and no
        other is (C100).
        """
        ways = [
            (kind, encoding) for kind in (J, H, "text/html") for encoding in ("identity", "gzip")
        ]
        tags: dict[str, tuple[str, str]] = {}
        for target in ("/simple/", "/simple/foo/"):
            for kind, encoding in ways:
                answer = self.pypid.get(target, kind, ("Accept-Encoding", encoding))
                tags[f"{answer['etag']}{answer['content-encoding']}"] = (kind, encoding)
        for kind, encoding in ways:
            own = self.pypid.get("/simple/foo/", kind, ("Accept-Encoding", encoding))["etag"] or ""
            self.assertTrue(own.startswith('"'))
            for other_kind, other_encoding in ways:
                asked = (("Accept-Encoding", other_encoding), ("If-None-Match", own))
                answer = self.pypid.get("/simple/foo/", other_kind, *asked)
                same = (other_kind, other_encoding) == (kind, encoding)
                self.assertEqual(answer.status, 304 if same else 200, (kind, other_kind))
                if same:
                    self.assertEqual((answer["etag"], answer.body), (own, b""))

    def test_a_change_changes_the_tag(self) -> None:
        """What a page says anew has a new tag: publish, yank, status, delete (C100)."""
        steps = [
            lambda: self.have_wheel("foo", "9"),
            lambda: self.pypid.api("PUT", "/api/projects/foo/releases/9/yank", {"reason": "x"}),
            lambda: self.pypid.api("PUT", "/api/projects/foo/releases/9/yank", {"reason": "y"}),
            lambda: self.pypid.api("DELETE", "/api/projects/foo/releases/9/yank"),
            lambda: self.pypid.api("PUT", "/api/projects/foo/status", {"status": "archived"}),
            lambda: self.pypid.api("DELETE", "/api/projects/foo/releases/9"),
        ]
        for kind in (J, H, "text/html"):
            self.assertEqual(
                self.pypid.get("/simple/foo/", kind)["etag"],
                self.pypid.get("/simple/foo/", kind)["etag"],
            )
        for step in steps:
            before = [self.pypid.get("/simple/foo/", kind)["etag"] for kind in (J, H, "text/html")]
            step()
            after = [self.pypid.get("/simple/foo/", kind)["etag"] for kind in (J, H, "text/html")]
            self.assertTrue(set(before).isdisjoint(after))

    def test_revalidated(self) -> None:
        """A page is asked for anew every time, so that a fresh upload is seen at
        once (C74, C101).
        """
        for target in ("/simple/", "/simple/foo/"):
            answer = self.pypid.get(target, PIP)
            self.assertEqual(answer["cache-control"], "no-cache")
            stale = self.pypid.get(target, PIP, ("If-None-Match", answer["etag"] or ""))
            self.assertEqual((stale.status, stale["cache-control"]), (304, "no-cache"))

    def test_private(self) -> None:
        """Where not everyone may read, shared caches keep nothing, and vary by who asks (C101)."""
        for rules in (
            PRIVATE,
            Rules(read=Principals(users=frozenset({"alice"})), write=PRIVATE.write),
        ):
            pypid = Pypid(Path(self.mktemp()), rules=rules)
            self.publish(wheel_filename("foo"), wheel("foo"), pypid=pypid)
            page = pypid.get("/simple/foo/", J, user="alice")
            self.assertEqual(page["cache-control"], "private, no-cache")
            self.assertNotIn(
                "Authorization", page["vary"] or ""
            )  # pip would write it into its cache
            file = pypid.get(f"/packages/foo/{wheel_filename('foo')}", user="alice")
            self.assertTrue((file["cache-control"] or "").startswith("private, "))
            self.assertIn("private", pypid.get("/simple/FOO/", user="alice")["cache-control"] or "")
            self.assertIsNone(page["access-control-allow-origin"])

    def test_gzip(self) -> None:
        """A page is gzipped for who asks, and as it is for who does not (C102)."""
        plain = self.pypid.get("/simple/foo/", J)
        self.assertIsNone(plain["content-encoding"])
        for wish in (
            "gzip",
            "gzip, deflate",
            "gzip, deflate, zstd",
            "x-gzip",
            "*",
            "br;q=1, gzip;q=0.5, identity;q=0.1",
        ):
            packed = self.pypid.get("/simple/foo/", J, ("Accept-Encoding", wish))
            self.assertEqual(packed["content-encoding"], "gzip", wish)
            self.assertEqual(gzip.decompress(packed.body), plain.body)
        for wish in ("identity", "gzip;q=0", "zstd", "", "br"):
            answer = self.pypid.get("/simple/foo/", J, ("Accept-Encoding", wish))
            self.assertIsNone(answer["content-encoding"], wish)
            self.assertEqual(answer.body, plain.body)

    def test_a_page_is_not_ranged(self) -> None:
        """A Range on a page gives the whole page (C16)."""
        self.assertEqual(self.pypid.get("/simple/foo/", J, ("Range", "bytes=0-9")).status, 200)
