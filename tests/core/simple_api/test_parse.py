"""Pages of other indexes: what is understood, what is left out, what is cleaned (C34, C35)."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadListing
from pypid.core.model import File, ListedFile, Project
from pypid.core.packaging.names import listed_version, project_name
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.parse import (
    LARGEST_ELEMENT,
    MOST_FILES,
    SLICE,
    ParsedListing,
    _joined,
    _url,
    elements,
    file_of,
    slices_of_json,
    yanked_of,
)
from pypid.core.simple_api.parse_html import slices_of_names, slices_of_page
from pypid.core.simple_api.render import Format, render_project
from tests.core.simple_api.test_render import Reader, strict

DEMO = project_name("demo")
BASE = "https://index.example/simple/demo/"
WHEEL = "demo-1.0-py3-none-any.whl"
SHA = "ab" * 32
modest = settings(max_examples=30, deadline=None, database=None)


TRICKY = st.recursive(
    st.text(alphabet='{}[],"\\ab :', max_size=12) | st.just('"files":[{') | st.integers(0, 99),
    lambda more: (
        st.lists(more, max_size=3) | st.dictionaries(st.text(max_size=3), more, max_size=3)
    ),
)
"""JSON whose texts look like JSON."""


def entry(**said: Any) -> dict[str, Any]:
    """A file as JSON has it."""
    return {"filename": WHEEL, "url": f"../../files/{WHEEL}", "hashes": {"sha256": SHA}, **said}


def document(*files: Any, **more: Any) -> bytes:
    """A page with these files."""
    return json.dumps(
        {"meta": {"api-version": "1.1"}, "name": "demo", "files": files, **more}
    ).encode()


def read(*files: Any, **more: Any) -> ParsedListing:
    """The listing of a page with these files."""
    return at_once(slices_of_json(document(*files, **more), DEMO, BASE))


def one(**said: Any) -> File:
    """What is understood of one file."""
    [file] = read(entry(**said)).files
    return file


def rendered(listing: ParsedListing) -> dict[str, Any]:
    """The listing as clients get it from us, which uv's strictest reading accepts; HTML says the
    same files.
    """
    project = Project(
        name=DEMO, files=listing.files, status=listing.status, status_reason=listing.status_reason
    )
    said = strict(render_project(project, Format.JSON))
    anchors = Reader(render_project(project, Format.TEXT_HTML)).anchors
    assert len(anchors) == len(said["files"]) == len(listing.files)
    for file in said["files"]:
        assert None not in file.values() and "" not in file.values(), file
        assert isinstance(file["yanked"], bool | str) and isinstance(file["hashes"], dict)
        if "upload-time" in file:
            assert file["upload-time"].endswith("Z"), file
    assert said["meta"]["api-version"] == "1.0" or all(
        isinstance(file["size"], int) for file in said["files"]
    )
    return said


class FileTests(SynchronousTestCase):
    """What is understood of one file."""

    @settings(max_examples=75, deadline=None, database=None)
    @given(
        st.lists(st.sampled_from(["..", ".", "a", "b.c", "", "x-1", "a;b", "%41", "a:b", "~"]), max_size=5).map("/".join),
        st.sampled_from(["/demo-1.0.tar.gz", "demo-1.0.tar.gz", "/demo-1.0.tar.gz?x=1", "/demo%2d1.0.tar.gz"]),
        st.sampled_from([
            "https://x/simple/demo/", "https://x:8080/simple/demo", "http://x", "https://u:p@x/a/b;c?d#e", "http://[::1]/a/",
        ]),
    )  # fmt: skip
    def test_relative(self, folder: str, name: str, base: str) -> None:
        """A relative URL leads where `urljoin` says, however it is worked out."""
        self.assertEqual(_url(folder + name, base), _joined.__wrapped__(folder + name, base))

    def test_everything(self) -> None:
        """Everything that a page can say of a file."""
        file = one(
            size=12,
            **{
                "upload-time": "2026-01-02T03:04:05.678901Z",
                "requires-python": ">=3.8",
                "core-metadata": {"sha256": "CD" * 32},
                "provenance": "https://index.example/integrity/x",
                "yanked": "broken",
            },
        )
        self.assertEqual(
            file,
            ListedFile(
                project=DEMO,
                filename=WHEEL,
                version="1.0",
                sha256=SHA,
                size=12,
                uploaded=datetime(2026, 1, 2, 3, 4, 5, 678901, UTC),
                requires_python=">=3.8",
                metadata_sha256="cd" * 32,
                metadata_offered=True,
                yanked="broken",
                source=f"https://index.example/files/{WHEEL}",
                provenance_url="https://index.example/integrity/x",
            ),
        )

    def test_yanked(self) -> None:
        """True is yanked without a reason; false, null and an empty text are not yanked; a reason
        is kept as it is.
        """
        for said, meant in (
            (True, ""),
            ("why", "why"),
            (False, None),
            (None, None),
            ("", None),
            (" ", None),
            (" why \n", " why \n"),
            (1, None),
            ([], None),
        ):
            self.assertEqual(yanked_of(said), meant)

    def test_metadata(self) -> None:
        """Core metadata is offered with a hash, or by a mere true; the newest of its three names
        counts (PEP 714).
        """
        for said, offered, digest in (
            ({"core-metadata": {"sha256": SHA}}, True, SHA),
            ({"core-metadata": True}, True, None),
            ({"core-metadata": {"sha512": "1" * 128}}, True, None),
            ({"core-metadata": {}}, True, None),
            ({"core-metadata": False, "dist-info-metadata": {"sha256": SHA}}, False, None),
            ({"core-metadata": None, "dist-info-metadata": {"sha256": SHA}}, True, SHA),
            ({"data-dist-info-metadata": {"sha256": SHA}}, True, SHA),
            ({"core-metadata": "true"}, False, None),
        ):
            file = one(**said)
            self.assertEqual((file.metadata_offered, file.metadata_sha256), (offered, digest), said)

    def test_urls(self) -> None:
        """Links are made absolute, lose fragment and user, and lead to http or https."""
        for url, source in (
            (f"{WHEEL}", f"{BASE}{WHEEL}"),
            (f"/f/{WHEEL}#sha256=1", f"https://index.example/f/{WHEEL}"),
            (f"//files.example/{WHEEL}", f"https://files.example/{WHEEL}"),
            (f"http://files.example:81/b/{WHEEL}?x=1", f"http://files.example:81/b/{WHEEL}?x=1"),
            (f"https://user:pw@files.example/{WHEEL}", f"https://files.example/{WHEEL}"),
            (f"https://files.example/a%20b/{WHEEL}", f"https://files.example/a%20b/{WHEEL}"),
        ):
            self.assertEqual(one(url=url).source, source)
        for url in (
            None, "", 5, [], f"ftp://x/{WHEEL}", f"file:///{WHEEL}", f"javascript:{WHEEL}", f"http://[/{WHEEL}",
            f"https://x:99999/{WHEEL}", f"https://x:0/{WHEEL}", f"https://x/{'y' * 5000}/{WHEEL}", "https://x/", "https://x/other.txt",
        ):  # fmt: skip
            listing = read(entry(url=url))
            self.assertEqual((listing.files, listing.left_out), ((), 1), url)

    def test_names_disagree(self) -> None:
        """pip takes the name from the URL, uv from the entry: a file for which they differ is left
        out.
        """
        self.assertEqual(read(entry(filename="demo-2.0-py3-none-any.whl")).files, ())
        plus = "demo-1.0+local.1-py3-none-any.whl"
        [file] = read(entry(filename=plus, url=f"https://x/{plus.replace('+', '%2B')}")).files
        self.assertEqual((file.filename, file.version), (plus, "1.0+local.1"))
        no_name = entry()
        del no_name["filename"]
        self.assertEqual(len(read(no_name).files), 1)

    def test_other_names(self) -> None:
        """Files of other projects, of no version, or of no kind that installers take
        are left out.
        """
        for name in (
            "other-1.0.tar.gz", "demo-x-py3-none-any.whl", "demo-1.0.exe", "demo-1.0.whl", ".", "..", "demo-1.0.tar.gz.asc",
            "demo-" + "9" * 300 + ".tar.gz", "demo-1.0%2f.tar.gz", "demo.tar.gz",
        ):  # fmt: skip
            self.assertEqual(read(entry(filename=name, url=f"https://x/{name}")).files, (), name)
        many = "demo-" + "9" * 200 + ".tar.gz"
        self.assertEqual(
            read(entry(filename=many, url=f"https://x/{many}")).files[0].version, "9" * 200
        )

    def test_hyphens_in_versions_of_sdists(self) -> None:
        """The version of an sdist is what stands behind the project's name, as pip and
        uv have it.
        """
        for name, filename, version in (
            ("docutils", "docutils-0.15.1-post1.tar.gz", "0.15.1.post1"),
            ("cffi", "cffi-1.2.0-1.tar.gz", "1.2.0.post1"),
            ("cx-oracle", "cx_Oracle-6.2-2.zip", "6.2.post2"),
            ("a-b", "A.b-1.0-dev-3.tar.bz2", "1.0.dev3"),
            ("foo-1", "foo-1-2.tar.gz", "2"),
            ("foo", "foo-1-2.tar.gz", "1.post2"),
        ):
            self.assertEqual(listed_version(filename, project_name(name)), version, filename)
        for name, filename in (
            ("foo", "foo-bar-1.0.tar.gz"),
            ("foo", "foobar-1.0-1.tar.gz"),
            ("foo", "foo-1.0-1.exe"),
            ("foo", "foo-1.0-1/x.tar.gz"),
            ("foo", "foo-1.0-1%2f.tar.gz"),
            ("foo", "foo-x-1.0.msi"),
        ):
            self.assertIsNone(listed_version(filename, project_name(name)), filename)

    @modest
    @given(st.dictionaries(st.sampled_from([*sorted(entry(size=1, yanked=1)), "core-metadata"]),
           st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.just(WHEEL),
                        lambda more: st.lists(more, max_size=3) | st.dictionaries(st.text(), more, max_size=3))))  # fmt: skip
    def test_anything(self, said: dict[str, Any]) -> None:
        """Whatever a page says of a file, it is a file that we can list, or none (C34)."""
        file = file_of({**entry(), **said}, DEMO, BASE)
        if file is not None:
            rendered(ParsedListing(files=(file,)))


class PageTests(SynchronousTestCase):
    """What is understood of a whole page."""

    def test_page_that_says_nothing_is_doubtful(self) -> None:
        """JSON without files, ``meta`` and ``name`` may be an error all the same; with one of them
        it is a listing.
        """
        for said, doubtful in (
            ({}, True),
            ({"name": "demo"}, False),
            ({"meta": {"api-version": "1.0"}}, False),
        ):
            listing = at_once(
                slices_of_json(json.dumps({"files": [], **said}).encode(), DEMO, BASE)
            )
            self.assertEqual((listing.files, listing.is_doubtful), ((), doubtful))
        self.assertFalse(
            at_once(
                slices_of_json(json.dumps({"files": [entry()]}).encode(), DEMO, BASE)
            ).is_doubtful
        )

    def test_versions(self) -> None:
        """A page without a version is 1.0; another major is refused (PEP 629) (C34)."""
        for meta in (
            {},
            None,
            {"api-version": None},
            {"api-version": "1.99"},
            {"api-version": 1.1},
            {"api-version": 1},
            [],
        ):
            self.assertEqual(len(read(entry(), meta=meta).files), 1)
        for version in ("2.0", "0.9", "", "x", [], {}, 2, 10**18, "1" * 5000, "10.0"):
            with self.assertRaises(BadListing):
                read(entry(), meta={"api-version": version})

    def test_other_project(self) -> None:
        """The page of another project is refused; a name that is spelled otherwise, or missing, is
        not.
        """
        for name in ("Demo", "DEMO", None, 5):
            self.assertEqual(len(read(entry(), name=name).files), 1)
        for name in ("other", "", "-", "x" * 1000):
            with self.assertRaises(BadListing):
                read(entry(), name=name)

    def test_too_many(self) -> None:
        """A page with too many entries is refused before they fill the memory."""
        page = b'{"files":[%s]}'
        self.assertEqual(
            at_once(slices_of_json(page % b",".join([b"{}"] * 9), DEMO, BASE)).left_out, 9
        )
        with self.assertRaises(BadListing):
            at_once(slices_of_json(page % b",".join([b"{}"] * (MOST_FILES + 1)), DEMO, BASE))

    def test_damaged(self) -> None:
        """What is no page of a project raises `BadListing`, wherever it is cut."""
        whole = document(entry(), entry(filename="x"), **{"project-status": "active"})
        for stop in range(len(whole)):
            with self.assertRaises(BadListing):
                at_once(slices_of_json(whole[:stop], DEMO, BASE))
        for bad in (
            b"", b"[]", b"{}", b"5", b'{"files":5}', b'{"files":{}}', whole + b"x", whole + whole, b"\xff" + whole,
            b"[" * 200_000,
            b'{"files":' * 9999, b'{"files":[' + b"[" * 200_000, b'{"files":["' + b'\\"' * 200_000,
            b'{"x":' + b"9" * 9999 + b',"files":[]}',
        ):  # fmt: skip
            with self.assertRaises(BadListing):
                at_once(slices_of_json(bad, DEMO, BASE))

    @modest
    @given(
        st.binary(max_size=300)
        | st.text(alphabet='{}[]",:1ae\\ <>/"files"', max_size=60).map(str.encode)
    )
    def test_any_bytes(self, data: bytes) -> None:
        """Any bytes are a listing or `BadListing`, as a page and as a list of names (C34)."""
        for question in (
            lambda: at_once(slices_of_page(data, "", DEMO, BASE)),
            lambda: at_once(slices_of_names(data)),
            lambda: at_once(slices_of_json(b'{"files":[' + data, DEMO, BASE)),
        ):
            try:
                question()
            except BadListing:
                continue

    def test_slices(self) -> None:
        """A page of 10,000 files is read in dozens of slices, and what comes out is valid for
        clients.
        """
        files = []
        for number in range(2000):
            name = f"demo-1.{number}.tar.gz"
            files.append(
                entry(filename=name, url=f"https://files.example/{number:064x}/{name}", size=number)
            )
        slices = slices_of_page(document(*files), "", DEMO, BASE)
        self.assertGreater(sum(1 for _ in slices), 15)
        listing = at_once(slices_of_page(document(*files), "", DEMO, BASE))
        self.assertEqual([file.size for file in listing.files], list(range(2000)))
        rendered(evolve(listing, files=listing.files[:50]))


class ElementTests(SynchronousTestCase):
    """A long JSON document is cut at the right places."""

    def both(self, data: bytes) -> tuple[list[Any], dict[str, Any]]:
        """The elements, and the rest."""
        found: list[Any] = []
        slices = elements(data, "files")
        while True:
            try:
                found.extend(next(slices))
            except StopIteration as ended:
                rest = dict(ended.value)
                del rest[""]
                return found, {**rest, "files": found}

    @settings(modest, max_examples=30)
    @given(
        st.lists(st.dictionaries(st.text(max_size=8), TRICKY, max_size=4), max_size=9),
        st.dictionaries(
            st.text(min_size=1, max_size=4).filter(lambda key: key != "files"), TRICKY, max_size=4
        ),
        st.booleans(),
        st.sampled_from([None, 2]),
        st.integers(0, 400),
    )
    def test_equals_json(
        self, files: list[Any], more: dict[str, Any], first: bool, indent: int | None, padding: int
    ) -> None:
        """Whatever is in the texts, the elements and the rest are those that a plain JSON parser
        finds.
        """
        whole = {"files": files, **more} if first else {**more, "files": files}
        data = json.dumps(whole, indent=indent).encode()
        found, again = self.both(b" " * padding + data)
        self.assertEqual(found, files)
        self.assertEqual(again, whole)

    def test_long(self) -> None:
        """Elements that are longer than a slice, and texts full of what looks like the end of one,
        are cut rightly too.
        """
        tricky = '"},{"files":[{' * 50
        files = (
            [{"a": tricky, "n": n} for n in range(300)]
            + [{"a": "}" * (3 * SLICE)}]
            + [{"b": n} for n in range(30_000)]
        )
        data = json.dumps({"x": '"files": [', "files": files, "versions": ["}"] * 100}).encode()
        self.assertEqual(self.both(data)[0], files)

    def test_too_long(self) -> None:
        """An element, or what stands around the array, beyond a bound is refused."""
        huge = "x" * (LARGEST_ELEMENT + 1)
        for document in (
            {"files": [{"a": huge * 2}]},
            {"a": huge, "files": []},
            {"files": [], "a": huge},
        ):
            with self.assertRaises(BadListing):
                self.both(json.dumps(document).encode())

    def test_twice(self) -> None:
        """A key that is there twice means different things to different readers."""
        with self.assertRaises(BadListing):
            self.both(b'{"files":[],"files":[]}')
