"""The renderer: C22 to C33, C35, C80 and C118 of the conformance points."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta, timezone
from html.parser import HTMLParser
from typing import Any
from urllib.parse import unquote, urldefrag, urljoin

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from packaging.version import Version
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, ListedFile, Project, RenderedPage, Status, StoredFile, in_order
from pypid.core.packaging.names import project_name
from pypid.core.simple_api.listed_files import plain
from pypid.core.simple_api.render import Format, render_project

NAME = project_name("demo")
PROVENANCE = "https://host/integrity/"
HTML = (Format.HTML_V1, Format.TEXT_HTML)
MOMENT = datetime(2026, 1, 2, 3, 4, 5, 678901, UTC)


def a_file(filename: str = "demo-1.0-py3-none-any.whl", version: str = "1.0", **more: Any) -> File:
    """A file of ours, with what is always known."""
    known: dict[str, Any] = {
        "sha256": "a" * 64,
        "size": 12,
        "uploaded": MOMENT,
        **more,
    }
    if "source" in more:
        return ListedFile(project=NAME, filename=filename, version=version, **known)
    key = f"demo/{filename}"
    return StoredFile(project=NAME, filename=filename, version=version, key=key, **known)


def a_project(*files: File, **more: Any) -> Project:
    """The project of these files."""
    return Project(name=NAME, files=in_order(files), serial=5, **more)


class Reader(HTMLParser):
    """What a client gets out of an HTML page: anchors with attributes and text, and metas."""

    def __init__(self, page: RenderedPage) -> None:
        super().__init__(convert_charrefs=True)
        self.anchors: list[dict[str, str | None]] = []
        self.texts: list[str] = []
        self.metas: dict[str, str | None] = {}
        self.tags: list[str] = []
        self.comments: list[str] = []
        self._inside = False
        self.feed(page.body.decode("utf-8"))
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        found = dict(attrs)
        assert len(found) == len(attrs), f"an attribute comes twice: {attrs}"
        if tag == "a":
            self.anchors.append(found)
            self.texts.append("")
            self._inside = True
        elif tag == "meta" and "name" in found:
            self.metas[found["name"] or ""] = found.get("content")

    def handle_endtag(self, tag: str) -> None:
        if tag == "a":
            self._inside = False

    def handle_data(self, data: str) -> None:
        if self._inside:
            self.texts[-1] += data

    def handle_comment(self, data: str) -> None:
        self.comments.append(data)


def strict(page: RenderedPage) -> dict[str, Any]:
    """The JSON page as the strictest client reads it: uv for null and types, the specification for
    the rest.
    """

    def no_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        assert len(dict(pairs)) == len(pairs), pairs
        assert not any(value is None or value == "" for _, value in pairs), pairs
        return dict(pairs)

    document: dict[str, Any] = json.loads(page.body.decode("utf-8"), object_pairs_hook=no_repeats)
    assert document.keys() == {"meta", "name", "project-status", "versions", "files"}, (
        document.keys()
    )
    assert document["meta"].keys() == {"api-version", "_last-serial"}
    assert document["project-status"].keys() <= {"status", "reason"}
    assert len(set(map(Version, document["versions"]))) == len(document["versions"])
    for file in document["files"]:
        check(file, document["meta"]["api-version"])
    return document


OPTIONAL = {
    "size": int,
    "upload-time": str,
    "requires-python": str,
    "core-metadata": (dict, bool),
    "provenance": str,
    "yanked": (bool, str),
}


def check(file: dict[str, Any], version: str) -> None:
    """One file of a strict page."""
    assert file.keys() >= {"filename", "url", "hashes", "yanked"}, file
    assert file.keys() - {"filename", "url", "hashes"} <= OPTIONAL.keys(), file
    for key, kind in OPTIONAL.items():
        assert isinstance(file.get(key, kind() if isinstance(kind, type) else True), kind), (
            key,
            file,
        )
    assert (
        file.get("core-metadata") is not False
    )  # a mere true is right where the hash is not known (PEP 714)
    assert "size" in file or version == "1.0"
    assert re.fullmatch(
        r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z",
        file.get("upload-time", "2026-01-01T00:00:00Z"),
    )
    assert "dist-info-metadata" not in file  # pip 22.3 to 23.1 crash on it
    assert unquote(file["url"].rpartition("/")[2]) == file["filename"], file
    assert file.get("provenance", "https://").startswith("https://")


def same(reader: Reader, document: dict[str, Any]) -> None:
    """The HTML page says what the JSON page says."""
    assert reader.texts == [file["filename"] for file in document["files"]]
    assert reader.metas["pypi:project-status"] == document["project-status"]["status"]
    assert reader.metas.get("pypi:project-status-reason") == document["project-status"].get(
        "reason"
    )
    for anchor, file in zip(reader.anchors, document["files"], strict=True):
        said = dict(anchor)
        url, fragment = urldefrag(said.pop("href") or "")
        assert url == file["url"]
        assert fragment == "".join(f"{name}={digest}" for name, digest in file["hashes"].items())
        expected: dict[str, str] = {}
        for key in ("size", "upload-time", "requires-python", "provenance"):
            if key in file:
                expected[f"data-{key}"] = str(file[key])
        if "core-metadata" in file:
            metadata = file["core-metadata"]
            said_of_it = "true" if metadata is True else f"sha256={metadata['sha256']}"
            expected["data-core-metadata"] = expected["data-dist-info-metadata"] = said_of_it
        if file["yanked"] is not False:
            expected["data-yanked"] = "" if file["yanked"] is True else file["yanked"]
        assert said == expected, (said, expected)


odd_text = st.text(
    st.characters() | st.sampled_from("\"'<>&;\n\r\t\x00\x1b\x85\u2028\ud800\ufffe")
) | st.sampled_from(
    [
        'a "b" <c>',
        "&amp;",
        "<!-- -->",
        "--><script>alert(1)</script>",
        "a\r\nb",
        " ",
        "\x00",
        "]]>",
        "&#x27;",
    ]
)
hexes = st.sampled_from(["0" * 64, "ab" * 32])
versions = st.sampled_from(["1.0", "1.0.0", "1.0+cu118", "1!2.0", "2.0rc1", "0.1.dev3"])


@st.composite
def files(draw: st.DrawFn) -> File:
    """Ours and theirs, known well or hardly."""
    version = draw(versions)
    tail = draw(
        st.sampled_from(
            [
                "-py3-none-any.whl",
                "-1-cp311-cp311-linux_x86_64.whl",
                ".tar.gz",
                ".zip",
            ]
        )
    )
    return File(
        project=NAME,
        filename=f"demo-{version}{tail}",
        version=version,
        sha256=draw(st.none() | hexes),
        size=draw(st.none() | st.integers(0, 2**40)),
        uploaded=draw(
            st.none()
            | st.datetimes(
                timezones=st.sampled_from([UTC, timezone(timedelta(hours=5, minutes=30))])
            ).filter(lambda moment: 2 <= moment.year <= 9998)
        ),
        requires_python=draw(st.none() | odd_text),
        metadata_sha256=draw(st.none() | hexes),
        yanked=draw(st.none() | odd_text),
        source=draw(st.none() | st.just("https://elsewhere/x")),
        md5=draw(st.none() | st.just("c" * 32)),
        attested=draw(st.booleans()),
    )


projects = st.builds(
    Project,
    name=st.just(NAME),
    files=st.lists(files(), max_size=4, unique_by=lambda file: file.filename)
    .map(tuple)
    .map(in_order),
    status=st.sampled_from(Status),
    status_reason=odd_text,
    serial=st.integers(0, 2**53),
)


class AnyProjectTests(SynchronousTestCase):
    """What holds for every project."""

    @settings(max_examples=30, deadline=None, database=None)
    @given(projects, st.sampled_from([None, PROVENANCE, "http://host/integrity/"]))
    def test_html_and_json_agree(self, project: Project, provenance_url: str | None) -> None:
        """The JSON page is strictly right, and the HTML pages say the same (C22 to
        C27, C29, C32).
        """
        document = strict(render_project(project, Format.JSON, provenance_url=provenance_url))
        self.assertEqual(document["name"], "demo")
        self.assertEqual(document["meta"]["_last-serial"], project.serial)
        self.assertEqual(
            [file["filename"] for file in document["files"]],
            [file.filename for file in project.files],
        )
        shown = set(map(Version, document["versions"]))
        self.assertEqual(shown, {Version(file.version) for file in project.files})
        for format in HTML:
            reader = Reader(render_project(project, format, provenance_url=provenance_url))
            same(reader, document)
            self.assertEqual(reader.metas["pypi:repository-version"], "1.4")
            self.assertEqual(reader.comments, [f"SERIAL {project.serial}"])
            self.assertNotIn("base", reader.tags)

    @settings(max_examples=30, deadline=None, database=None)
    @given(projects, projects)
    def test_etag(self, one: Project, other: Project) -> None:
        """Equal projects give equal pages; pages have one ETag exactly if they are the same bytes
        of the same type (C100).
        """
        for format in Format:
            self.assertEqual(render_project(one, format), render_project(evolve(one), format))
        pages = [render_project(project, format) for project in (one, other) for format in Format]
        for page in pages:
            self.assertRegex(page.etag, r'\A"[0-9a-f]{32}"\Z')
            for another in pages:
                alike = (page.body, page.content_type) == (another.body, another.content_type)
                self.assertEqual(page.etag == another.etag, alike)

    @settings(max_examples=50, deadline=None, database=None)
    @given(odd_text)
    def test_plain(self, text: str) -> None:
        """What `plain` gives can be encoded, has no control characters but tab and line feed, and
        stays as it is.
        """
        result = plain(text)
        result.encode()
        self.assertNotRegex(result, "[\x00-\x08\x0b-\x1f\x7f-\x9f]")
        self.assertEqual(plain(result), result)


class DetailTests(SynchronousTestCase):
    """`render_project`, point by point."""

    def test_theirs(self) -> None:
        """URLs point at us, never at the source, and relative ones lead from the page to
        ``/packages/``.
        """
        file = a_file(source="https://elsewhere/demo.whl")
        page = render_project(a_project(file), Format.JSON)
        self.assertNotIn(b"elsewhere", page.body)
        url = strict(page)["files"][0]["url"]
        self.assertEqual(
            urljoin("https://host/simple/demo/", url),
            "https://host/packages/demo/demo-1.0-py3-none-any.whl",
        )
        absolute = strict(render_project(a_project(file), Format.JSON, files_url="https://cdn/f/"))[
            "files"
        ][0]["url"]
        self.assertEqual(absolute, "https://cdn/f/demo/demo-1.0-py3-none-any.whl")

    def test_hostile_filename(self) -> None:
        """A file name of theirs cannot leave its segment of the URL, nor its attribute."""
        project = a_project(a_file('../"><b>?#%2f\ud800.whl'))
        document = strict(render_project(project, Format.JSON))
        self.assertRegex(
            document["files"][0]["url"], r"\A\.\./\.\./packages/demo/[A-Za-z0-9.%_~-]+\Z"
        )
        same(Reader(render_project(project, Format.TEXT_HTML)), document)

    def test_each_change_shows(self) -> None:
        """Whatever of a file clients can see, its change is another page and another ETag."""
        file = a_file()
        changes: list[dict[str, Any]] = [
            {"sha256": "b" * 64}, {"size": 13}, {"uploaded": MOMENT + timedelta(microseconds=1)}, {"requires_python": ">=3"},
            {"metadata_sha256": "c" * 64}, {"yanked": ""}, {"attested": True},
        ]  # fmt: skip
        for format in Format:
            projects = [
                a_project(file),
                *(a_project(replace(file, **change)) for change in changes),
            ]
            projects += [
                a_project(file, status=Status.DEPRECATED),
                a_project(file, status_reason="x"),
                evolve(projects[0], serial=6),
            ]
            etags = {
                render_project(project, format, provenance_url=PROVENANCE).etag
                for project in projects
            }
            self.assertEqual(len(etags), len(projects))
