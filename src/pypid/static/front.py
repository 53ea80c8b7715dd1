"""HTML pages: the start page with its filter box, the changelog, and a feed of the newest files.

Paths and links are those of dumb-pypi. Everything out of a list is escaped; the only script is
`FILTER`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime
from email.utils import format_datetime
from html import escape
from itertools import islice

from attrs import frozen

from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.entries import plain, utc_text
from pypid.static.package_list import PackageListEntry, moment_of
from pypid.static.settings import StaticSettings
from pypid.static.tree import WrittenPage

PER_PAGE = 5000
"""Number of lines on a page of the changelog."""
IN_FEED = 100
FEED = "rss/updates.xml"
"""The path at which PyPI has its feed of releases."""

_STYLE = """body { margin: 0; font: 16px/1.5 Helvetica, Arial, sans-serif; color: #111 }
header { position: sticky; top: 0; display: flex; align-items: center; gap: 1em; \
padding: .7em 1em; background: #e6f8ff;
  border-bottom: 1px solid #e2e2e2 }
h1 { margin: 0; font-size: 1.4em; white-space: nowrap }
header input { flex: 1; min-width: 5em; padding: .3em; font-size: 1em }
main { max-width: 60em; margin: 1em auto; padding: 0 1em }
.package { display: block; padding: .4em; color: inherit; text-decoration: none }
.package:nth-of-type(even) { background: #f8f8f8 }
.package:hover { background: #ebf1ff }
[hidden] { display: none }
table { border-collapse: collapse; width: 100% }
th, td { border: 1px solid #999; padding: .2em .4em; text-align: left; overflow-wrap: anywhere }
.turn { text-align: center }"""

FILTER = """(function () {
  var search = document.getElementById("search");
  var rows = Array.from(document.getElementsByClassName("package"));
  function plain(text) { return text.toLowerCase().replace(/[._-]+/g, "-"); }
  function filter() {
    var words = plain(search.value).trim().split(/\\s+/);
    rows.forEach(function (row) {
      row.hidden = !words.every(function (word) { return row.dataset.name.includes(word); });
    });
  }
  search.addEventListener("input", filter);
  if (search.value) filter();
})();
"""
"""The script of the start page, also for a file of its own where inline scripts are forbidden
(Content-Security-Policy).
"""
_FILTER = f"<script>\n{FILTER}</script>\n"


@frozen
class Latest:
    """A line of the start page."""

    project: ProjectName
    version: str | None


def first_page(
    projects: Iterable[Latest], settings: StaticSettings, script: str | None = None
) -> bytes:
    """Return the start page: all projects, with a box to filter them. `script`: the URL of
    `FILTER`; None: in the page itself.
    """
    lines = "".join(
        [
            f'<a class="package" href="simple/{one.project}/index.html" data-name="{one.project}">'
            f"<strong>{one.project}</strong> (latest version: "
            f"{escape(one.version or 'unknown')})</a>\n"
            for one in projects
        ]
    )
    made = ""
    if settings.generated is not None:
        made = f" Generated on {utc_text(settings.generated)[:19].replace('T', ' ')} UTC."
    ways = (
        '<a href="simple/index.html">All names</a>, <a href="changelog/page1.html">what came '
        "last</a>"
    )
    filter = _FILTER if script is None else f'<script src="{escape(script)}" defer></script>\n'
    body = f'<p>{ways}, <a href="{FEED}">the same as a feed</a>.{made}</p>\n{lines}{filter}'
    box = '<input id="search" type="search" autofocus placeholder="Filter" aria-label="Filter">'
    return _document(settings.title, settings, body, box, "")


def changelog(
    newest_first: Sequence[PackageListEntry], settings: StaticSettings
) -> Iterator[WrittenPage]:
    """Yield the pages of the changelog of all files, newest first."""
    count = -(-len(newest_first) // PER_PAGE)
    for page in range(1, count + 1):
        files = newest_first[(page - 1) * PER_PAGE : page * PER_PAGE]
        yield WrittenPage(
            f"changelog/page{page}.html", _changelog_page(files, page, count, settings)
        )


@frozen
class ChangelogEntry:
    """A line of the changelog: `href` links to the file, or to its project; `uploaded` is aware."""

    href: str
    filename: str
    uploaded: datetime | None
    by: str = ""


def _changelog_page(
    files: Iterable[PackageListEntry], page: int, count: int, settings: StaticSettings
) -> bytes:
    return changelog_page([_entry(listed, settings) for listed in files], settings, page, count)


def changelog_page(
    entries: Iterable[ChangelogEntry], settings: StaticSettings, page: int = 1, count: int = 1
) -> bytes:
    """Return page `page` of the `count` pages of the changelog."""
    lines = "".join([_line(entry) for entry in entries])
    turn = _turn(page, count)
    table = (
        f"<table>\n<tr><th>Filename</th><th>Upload Time</th><th>Uploaded "
        f"By</th></tr>\n{lines}</table>"
    )
    body = f"<h2>Package Changelog</h2>\n{turn}\n{table}\n{turn}\n"
    return _document(f"Changelog | {settings.title}", settings, body, "", "../")


def _entry(listed: PackageListEntry, settings: StaticSettings) -> ChangelogEntry:
    href = settings.url(listed.filename) + (f"#{listed.hash.lower()}" if listed.hash else "")
    uploaded = moment_of(listed.upload_timestamp) if listed.upload_timestamp else None
    return ChangelogEntry(href, listed.filename, uploaded, listed.uploaded_by or "")


def _line(entry: ChangelogEntry) -> str:
    moment = "" if entry.uploaded is None else utc_text(entry.uploaded)[:19].replace("T", " ")
    name, by = escape(entry.filename), escape(plain(entry.by))
    return (
        f"<tr><td><a "
        f'href="{escape(entry.href)}">{name}</a></td><td>{moment}</td><td>{by}</td></tr>\n'
    )


def _turn(page: int, count: int) -> str:
    def to(number: int, sign: str, there: bool) -> str:
        return f'<a href="page{number}.html">{sign}</a>' if there else sign

    back, on = page > 1, page < count
    ways = (
        to(1, "&laquo;", back),
        to(page - 1, "&larr;", back),
        f"Page {page}/{count}",
        to(page + 1, "&rarr;", on),
        to(count, "&raquo;", on),
    )
    return f'<p class="turn">{" ".join(ways)}</p>'


def feed(newest_first: Iterable[PackageListEntry], settings: StaticSettings) -> bytes:
    """Return the RSS 2.0 feed of the newest files that have an upload time. The feed has no time of
    its own.
    """
    site = escape(settings.site_url.rstrip("/") + "/" if settings.site_url else "../index.html")
    last = islice((listed for listed in newest_first if listed.upload_timestamp), IN_FEED)
    items = "".join([_item(listed, settings) for listed in last])
    title = escape(plain(settings.title))
    return (
        '<?xml version="1.0" encoding="utf-8"?>\n<rss version="2.0">\n<channel>\n'
        f"<title>{title}</title>\n<link>{site}</link>\n<description>Files that were uploaded "
        f"last</description>\n"
        f"{items}</channel>\n</rss>\n"
    ).encode()


def _item(listed: PackageListEntry, settings: StaticSettings) -> str:
    moment = moment_of(listed.upload_timestamp or 0)
    name = escape(listed.filename)
    by = (
        f"<description>{escape(plain(f'Uploaded by {listed.uploaded_by}'))}</description>"
        if listed.uploaded_by
        else ""
    )
    return (
        f"<item><title>{name}</title><link>{escape(settings.url(listed.filename))}</link>"
        f'<guid isPermaLink="false">{name}</guid>'
        f"<pubDate>{format_datetime(moment)}</pubDate>{by}</item>\n"
    )


def _document(title: str, settings: StaticSettings, body: str, box: str, up: str) -> bytes:
    logo = ""
    if settings.logo:
        width = f' width="{settings.logo_width}"' if settings.logo_width > 0 else ""
        logo = f'<img src="{escape(settings.logo)}" alt=""{width}>'
    name = escape(plain(settings.title))
    feed_link = (
        f'<link rel="alternate" type="application/rss+xml" title="{name}" href="{up}{FEED}">'
    )
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(plain(title))}</title>\n{feed_link}\n<style>\n{_STYLE}\n</style>\n"
        "</head>\n<body>\n"
        f"<header>{logo}<h1>{name}</h1>{box}</header>\n<main>\n{body}</main>\n</body>\n</html>\n"
    ).encode()
