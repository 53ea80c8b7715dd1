"""Pages in HTML: links and what their attributes say; the same as JSON, wherever both
can say it.
"""

from __future__ import annotations

import json
from datetime import datetime
from html import escape, unescape
from itertools import cycle
from time import process_time
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadListing
from pypid.core.model import File, Project, Status, in_order
from pypid.core.packaging.names import project_name
from pypid.core.simple_api.listed_files import at_once
from pypid.core.simple_api.parse import Gathered, ParsedListing, slices_of_json
from pypid.core.simple_api.parse_html import (
    _VALUES,
    LONGEST_TAG,
    Usual,
    _Page,
    entry_of,
    slices_of_html,
    slices_of_names,
    slices_of_page,
)
from pypid.core.simple_api.render import Format, render_project

DEMO = project_name("demo")
BASE = "https://index.example/simple/demo/"
SHA = "ab" * 32
NAME = "demo-1.0.tar.gz"
modest = settings(max_examples=30, deadline=None, database=None)


INDEXES = {
    "public index": (
        '<!DOCTYPE html>\n<html>\n  <head>\n    <meta name="pypi:repository-version" '
        'content="1.4">\n'
        "    <title>Links for demo</title>\n  </head>\n  <body>\n    <h1>Links for demo</h1>\n",
        '<a href="https://files.example/p/{file}#sha256=' + SHA + '">{file}</a><br />\n',
        "</body>\n</html>\n<!--SERIAL 21-->",
    ),
    "devpi": (
        '<!DOCTYPE html><html><head><meta name="pypi:repository-version" content="1.0">'
        "<title>root/pypi: links for demo</title></head><body><h1>root/pypi: links for demo</h1>"
        '<form action="/root/pypi/+simple/demo/refresh" method="post">'
        '<input name="refresh" type="submit" value="Refresh"/></form>',
        '<a href="../../+f/abc/{file}#sha256=' + SHA + '">{file}</a><br/>\n',
        "</body></html>",
    ),
    "pypiserver": (
        "<!DOCTYPE html>\n<html>\n  <head>\n    <title>Links for demo</title>\n  </head>\n"
        "  <body>\n    <h1>Links for demo</h1>\n",
        '<a href="/packages/{file}#sha256=' + SHA + '">{file}</a><br>\n',
        "</body>\n</html>",
    ),
    "nginx": (
        "<html>\r\n<head><title>Index of /simple/demo/</title></head>\r\n<body>\r\n"
        '<h1>Index of /simple/demo/</h1><hr><pre><a href="../">../</a>\r\n',
        '<a href="{file}">{file}</a>   01-Jan-2026 00:00   1000\r\n',
        "</pre><hr></body>\r\n</html>",
    ),
    "apache": (
        '<!DOCTYPE HTML PUBLIC "-//W3C//DTD HTML 3.2 Final//EN">\n<html>\n <head>\n'
        "  <title>Index of /simple/demo</title>\n </head>\n <body>\n<h1>Index of "
        "/simple/demo</h1>\n"
        '<table><tr><td><a href="/simple/">Parent Directory</a></td></tr>',
        '<tr><td><a href="{file}">{file}</a></td></tr>',
        "</table></body></html>",
    ),
    "http.server": (
        '<!DOCTYPE HTML>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        "<title>Directory listing for /simple/demo/</title>\n</head>\n<body>\n"
        "<h1>Directory listing for /simple/demo/</h1>\n<hr>\n<ul>\n",
        '<li><a href="{file}">{file}</a></li>\n',
        "</ul>\n<hr>\n</body>\n</html>",
    ),
    "artifactory": (
        '<!DOCTYPE html>\n<html>\n<head>\n<title>Simple Index</title>\n<meta name="api-version" '
        'value="2" />\n'
        "</head>\n<body>\n",
        '<a href="../../packages/demo/{file}#sha256=' + SHA + '" rel="internal">{file}</a><br/>\n',
        "</body>\n</html>",
    ),
    "gitlab": (
        "<!DOCTYPE html>\n<html>\n  <head>\n    <title>Links for Demo</title>\n  </head>\n"
        "  <body>\n    <h1>Links for Demo</h1>\n",
        '<a href="https://git.example/api/v4/files/{file}#sha256=' + SHA + '">{file}</a><br>\n',
        "</body>\n</html>",
    ),
    "dumb-pypi": (
        '<!DOCTYPE html>\n<html>\n<head>\n<meta name="pypi:repository-version" content="1.0">\n'
        "<title>demo</title>\n</head>\n<body>\n<h1>demo</h1>\n<p>Generated on "
        "2026-01-01.</p>\n<ul>\n",
        '<li><a href="../../packages/{file}#sha256=' + SHA + '">{file}</a></li>\n',
        "</ul></body></html>",
    ),
}
"""How indexes write the page of the project demo: what is before the links, a link, and what is
behind them.
"""
PAGES_WITHOUT_FILES = {what: before + after for what, (before, _, after) in INDEXES.items()} | {
    "only the version": '<meta name="pypi:repository-version" content="1.0">',
    "only a heading": "<!DOCTYPE html><h1>Links for demo</h1>",
    "heading with tags": "<h1>\n Links for <em>demo</em></h1>",
}
OTHER_PAGES = {
    "nginx 502": "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n"
    "<center><h1>502 Bad "
    "Gateway</h1></center>\r\n<hr><center>nginx</center>\r\n</body>\r\n</html>\r\n",
    "bare heading": "<h1>Service Unavailable</h1>",
    "maintenance": "<!DOCTYPE html><html><head><title>Down for maintenance</title></head>"
    "<body><h1>We will be back soon</h1><p>demo and all others are being moved.</p></body></html>",
    "captive portal": '<html><head><title>Guest WiFi</title><meta http-equiv="refresh" content="0; '
    'url=/welcome"></head>'
    '<body><h1>Welcome</h1><a href="/terms">Terms</a><form action="/accept"><input '
    'type="submit"></form></body></html>',
    "another project": "<h1>Links for other</h1>",
    "log-in that leads back": "<title>Log in to see demo</title><form action='/login?next=/simple/demo/'>",
    "no heading": "<html><body></body></html>",
    "a link up": "<html><body><a href=../>up</a></body></html>",
    "form": "<form action=/login>",
    "script": "<html><script>location='/login'</script></html>",
    "torn": "<p",
    "less": "<",
    "comment": "<!-- x",
    "no tag": "< nothing",
}


def read(html: str, content_type: str = "") -> ParsedListing:
    """The listing of a page."""
    return at_once(slices_of_html(html.encode(), DEMO, BASE, content_type))


def one(attributes: str, around: str = "{}") -> File:
    """What is understood of one link with these attributes."""
    [file] = read(around.format(f"<a {attributes}>{NAME}</a>")).files
    return file


FRAGMENTS = (
    f'<a href="https://files.example/x-1.0.tar.gz#sha256={SHA}" data-yanked="&lt;">x</a><br/>\n',
    f'\n<a href="https://files.example/x-1.1.tar.gz#sha256={SHA}" data-size="1" rel="x">x</a>',
    '<a href="https://files.example/x-1.0.tar.gz#sha256=ab">x-1.0.tar.gz</a><br/>\n',
    '\n  <a href="x" data-yanked="" data-requires-python="&gt;=3.8, &lt; 4 &amp;gt;">x</a>',
    '<a href="1" href="2" rel="nofollow">&amp;</a>',
    '<a href="&quot;x&not">x</a>',
    "<a href='x' DATA-YANKED>x</a>",
    '<A HREF="x">x</A >',
    '<a href="">x</a>',
    '<a href="a<b>c">x</a>',
    '<a href="x" / >x<b>x</b></a>',
    '<a href="x',
    "<a",
    "<",
    "&",
    ">",
    '"',
    "-->",
    "<!-- ",
    "<script>",
    "</script>",
    "<title>x & y</title>",
    "<br>",
    '<base href="https://other.example/">',
    '<meta name="pypi:repository-version" content="1.1">',
    '<meta name="pypi:project-status" content="archived">',
    "<!DOCTYPE html><html><body>",
    "</body></html>",
    "<h1>Links for ",
    "</h1>",
    "</li><li>",
    "text ",
)


LINKS = st.builds(
    lambda url, fragment, attributes, end: f'<a href="{url}{fragment}"{"".join(attributes)}{end}',
    st.builds(
        lambda *parts: "".join(parts),
        st.sampled_from(["https://files.example", "http://f:80", "https://u:p@f", "HTTPS://f", "..", "//f", "https://f:99999"]),
        st.sampled_from(["/", "/a/b/", "/a//", "/./", "/%41/", "/a;b/", "/a?b/", ""]),
        st.sampled_from(["demo-1.0.tar.gz", "demo-01.whl", "Demo-1.0rc1-py3-none-any.whl", "demo-2.zip", "x-1.tar.gz", "x"]),
    ),
    st.sampled_from([f"#sha256={SHA}", f"#sha256={SHA.upper()}", "#md5=" + "1" * 32, "", f"#sha256={SHA}&amp;egg=x"]),
    st.lists(
        st.sampled_from([
            ' data-requires-python="&gt;=3.8"', '\n data-requires-python=" "', ' data-requires-python="&#62;3"',
            ' data-upload-time="2026-01-02T03:04:05.678901Z"', ' data-upload-time="2026-13-02T03:04:05Z"',
            ' data-upload-time="2026-01-02T03:04:05+01:00"', ' data-upload-time="2026-01-02"', ' data-upload-time=""',
            ' data-yanked=""', " data-yanked", ' data-yanked="  "', ' data-yanked=" a &quot;b&quot; &amp;lt; "',
            ' data-size="12"', ' data-size="007"', ' data-size="99999999999999999"', ' data-size="x"',
            f' data-core-metadata="sha256={SHA}"', ' data-core-metadata="true"', ' data-core-metadata="false"',
            f' data-dist-info-metadata="sha256={"cd" * 32}"', ' data-dist-info-metadata="true"', ' data-dist-info-metadata=""',
            ' data-provenance="https://x/p?a&amp;b"', ' data-provenance="http://x"', ' data-gpg-sig="true"', ' rel="internal"',
            ' data-other="1"', ' href="other-9.tar.gz"',
        ]),
        max_size=5,
    ),
    st.sampled_from([">x</a><br/>", ">x</a>", " >x &amp; y</a><br>", "/>x</a>", "><b>x</b></a>", ">x"]),
)  # fmt: skip


class PageTests(SynchronousTestCase):
    """What is understood of a whole page."""

    def test_page_without_files_is_the_projects_by_its_meta_or_heading(self) -> None:
        """Each index has its own; all but one with a status are doubtful."""
        for what, html in PAGES_WITHOUT_FILES.items():
            listing = read(html)
            self.assertEqual((listing.files, listing.is_doubtful), ((), True), what)
        status = '<meta name="pypi:project-status" content="quarantined">'
        self.assertFalse(
            read(f'<meta name="pypi:repository-version" content="1.4">{status}').is_doubtful
        )
        self.assertFalse(read(f'<a href="{NAME}">x</a>').is_doubtful)

    def test_other_page_without_files_is_no_listing(self) -> None:
        """An error page, a log-in, a captive portal, or what is no HTML at all."""
        for what, html in OTHER_PAGES.items():
            with self.assertRaises(BadListing, msg=what):
                read(html)
        gateway = project_name("gateway")
        with self.assertRaises(BadListing):
            at_once(slices_of_html(OTHER_PAGES["nginx 502"].encode(), gateway, BASE))
        self.assertEqual(
            at_once(slices_of_html(b"<h1>Links for gateway</h1>", gateway, BASE)).files, ()
        )

    def test_hostile_headings(self) -> None:
        """A heading without an end, and very many of them, take linear time."""
        begun = process_time()
        for hostile in (
            "<h1>" + "links for " * 300_000,
            "<h1>links for x</h1>" * 50_000,
            "<title>" * 200_000,
        ):
            with self.assertRaises(BadListing):
                read(hostile)
        self.assertLess(process_time() - begun, 10)

    def test_encodings(self) -> None:
        """Pages are UTF-8, or what they say if that is one of the old ones; broken bytes spoil a
        character, not the page.
        """
        html = f'<a href="{NAME}" data-yanked="ä">x</a>'
        for encoding, content_type in (
            ("utf-8", ""),
            ("utf-8", "text/html; charset=nonsense"),
            ("latin-1", "text/html;charset=ISO-8859-1"),
        ):
            [file] = at_once(slices_of_html(html.encode(encoding), DEMO, BASE, content_type)).files
            self.assertEqual(file.yanked, "ä")
        [file] = at_once(
            slices_of_html(html.encode("latin-1"), DEMO, BASE, "text/html; charset=utf-7")
        ).files
        self.assertEqual(file.yanked, "\ufffd")

    def test_hostile(self) -> None:
        """Tags that never end, and pages of nothing but beginnings of tags, take a bounded time."""
        begun = process_time()
        for beginning in (
            "<a ",
            "<!--",
            "</",
            "<a href='",
            "<![CDATA[",
            "<a x=",
            "<?",
            "&",
            "<!",
            "<script>",
            "<a/",
        ):
            with self.assertRaises(BadListing):
                read(beginning * (5 * LONGEST_TAG // 4 // len(beginning)))
        self.assertLess(process_time() - begun, 10)

    @modest
    @given(st.text(max_size=200) | st.text(alphabet="<>ahref='\"/! -=#&;", max_size=200))
    def test_any_text(self, text: str) -> None:
        """Any text is a listing or `BadListing`, as a page and as a list of names,
        in any encoding.
        """
        for question in (
            lambda: read(text),
            lambda: at_once(slices_of_names(text.encode())),
            lambda: at_once(slices_of_page(b"<" + text.encode("utf-16"), "", DEMO, BASE)),
        ):
            try:
                question()
            except BadListing:
                continue

    @modest
    @given(
        st.lists(st.sampled_from(FRAGMENTS), max_size=12),
        st.lists(st.integers(1, 90), min_size=1, max_size=9),
    )
    def test_usual_links(self, fragments: list[str], lengths: list[int]) -> None:
        """What goes past Python's parser, in pieces of any length, is what the parser would have
        said of the whole.
        """
        text = "".join(fragments)
        parser, page = _Page(), _Page()
        parser.feed(text)
        position = 0
        for length in cycle(lengths):
            page.take(text[position : position + length])
            position += length
            if position >= len(text):
                break
        page.end()
        links = [attributes_of(link) if isinstance(link, tuple) else link for link in page.links]
        self.assertEqual(links, parser.links)
        for said in ("count", "base", "version", "status", "headings", "has_end"):
            self.assertEqual(getattr(page, said), getattr(parser, said), said)

    @settings(modest, max_examples=50)
    @given(st.lists(LINKS, min_size=1, max_size=3))
    def test_same_with_care(self, links: list[str]) -> None:
        """What is understood of links at once is what is understood of them with care, attribute by
        attribute.
        """
        text = "\n".join(links)
        parser = _Page()
        parser.feed(text)
        with_care = Gathered(DEMO, BASE)
        for link in parser.links:
            assert isinstance(link, dict)
            with_care.take([entry_of(link)])
        listing = at_once(with_care.listing(Status.ACTIVE, ""))
        found = read(f"<html><h1>demo</h1>{text}</html>")
        self.assertEqual((found.files, found.left_out), (listing.files, listing.left_out))

    @modest
    @given(
        st.lists(
            st.fixed_dictionaries(
                {"version": st.integers(0, 99), "size": st.integers(0, 10**12)},
                optional={
                    "requires-python": st.sampled_from([">=3.8", "<4,>=3", "nonsense & <x>"]),
                    "yanked": st.text(max_size=20).map(lambda text: text if text.strip() else True),
                    "upload-time": st.datetimes(datetime(2000, 1, 1), datetime(2100, 1, 1)).map(
                        lambda moment: moment.isoformat() + "Z"
                    ),
                    "core-metadata": st.sampled_from([True, {"sha256": SHA}]),
                    "provenance": st.just("https://index.example/p?a=1&b=2"),
                },
            ),
            max_size=5,
            unique_by=lambda file: file["version"],
        )
    )
    def test_same_as_json(self, files: list[dict[str, Any]]) -> None:
        """JSON and HTML of one page give the same files; and what we make of them gives them once
        more.
        """
        entries, lines = [], ["<html><body><h1>demo</h1>"]
        for said in files:
            name = f"demo-{said.pop('version')}.tar.gz"
            entries.append({"filename": name, "url": name, "hashes": {"sha256": SHA}, **said})
            attributes = "".join(
                f' data-{key}="{escape(in_html(value))}"' for key, value in said.items()
            )
            lines.append(f'<a href="{name}#sha256={SHA}"{attributes}>{name}</a>')
        page = json.dumps({"name": "demo", "files": entries}).encode()
        from_json, from_html = (
            at_once(slices_of_json(page, DEMO, BASE)),
            read("".join([*lines, "</body></html>"])),
        )
        self.assertEqual(
            [plain(file) for file in from_html.files], [plain(file) for file in from_json.files]
        )
        project = Project(name=DEMO, files=in_order(from_json.files))
        again = [
            at_once(slices_of_page(render_project(project, format).body, "", DEMO, BASE))
            for format in (Format.JSON, Format.TEXT_HTML)
        ]
        self.assertEqual(
            [plain(file) for file in again[0].files], [plain(file) for file in again[1].files]
        )


def attributes_of(link: Usual) -> dict[str, str | None]:
    """The attributes of the link as an HTML parser has them."""
    attributes: dict[str, str | None] = {"href": f"{link[0]}#sha256={link[1]}"}
    for (name, _), value in zip(_VALUES, link[2:], strict=True):
        if value is not None:
            attributes[name] = unescape(value)
    return attributes


def in_html(value: object) -> str:
    """A value as an attribute has it."""
    if isinstance(value, dict):
        return f"sha256={value['sha256']}"
    return "true" if value is True else str(value)


def plain(file: File) -> File:
    """The file without what HTML cannot express: in attributes, a reason that is true, and line
    ends and control characters.
    """
    yanked = (
        None
        if file.yanked is None
        else "".join(c for c in file.yanked if c.isprintable()).replace("\ufffd", "")
    )
    return replace(file, yanked="true" if yanked == "" else yanked)
