"""HTML pages: the start page with its filter box, and the changelog.

Paths and links are those of dumb-pypi. Everything out of a list is escaped; the only script is
`FILTER`.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from html import escape

from attrs import frozen

from pypid.core.packaging.names import ProjectName
from pypid.core.simple_api.entries import plain, utc_text
from pypid.export.options import ExportOptions

FEED = "rss/updates.xml"
"""The path at which PyPI has its feed of releases."""
SCRIPT = "filter.js"
"""The path of `FILTER`: inline scripts may be forbidden (Content-Security-Policy)."""

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
th, td { border: 1px solid #999; padding: .2em .4em; text-align: left; overflow-wrap: anywhere }"""

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
"""The script of the start page."""


@frozen
class Latest:
    """A line of the start page."""

    project: ProjectName
    version: str | None


@frozen
class ChangelogEntry:
    """A line of the changelog: `href` links to the file's project; `uploaded` is aware."""

    href: str
    filename: str
    uploaded: datetime
    by: str


def first_page(
    projects: Iterable[Latest], options: ExportOptions, generated: datetime | None
) -> bytes:
    """Return the start page: all projects, with a box to filter them."""
    lines = "".join(
        [
            f'<a class="package" href="simple/{one.project}/index.html" data-name="{one.project}">'
            f"<strong>{one.project}</strong> (latest version: "
            f"{escape(one.version or 'unknown')})</a>\n"
            for one in projects
        ]
    )
    made = "" if generated is None else f" Generated on {_time(generated)} UTC."
    ways = (
        '<a href="simple/index.html">All names</a>, <a href="changelog/page1.html">what came '
        "last</a>"
    )
    script = f'<script src="{SCRIPT}" defer></script>\n'
    body = f'<p>{ways}, <a href="{FEED}">the same as a feed</a>.{made}</p>\n{lines}{script}'
    box = '<input id="search" type="search" autofocus placeholder="Filter" aria-label="Filter">'
    return _document(options.title, options, body, box, "")


def changelog_page(entries: Iterable[ChangelogEntry], options: ExportOptions) -> bytes:
    """Return the changelog."""
    lines = "".join([_line(entry) for entry in entries])
    table = (
        "<table>\n<tr><th>Filename</th><th>Upload Time</th><th>Uploaded By</th></tr>\n"
        f"{lines}</table>"
    )
    body = f"<h2>Package Changelog</h2>\n{table}\n"
    return _document(f"Changelog | {options.title}", options, body, "", "../")


def _line(entry: ChangelogEntry) -> str:
    return (
        f'<tr><td><a href="{escape(entry.href)}">{escape(entry.filename)}</a></td>'
        f"<td>{_time(entry.uploaded)}</td><td>{escape(plain(entry.by))}</td></tr>\n"
    )


def _time(moment: datetime) -> str:
    return utc_text(moment)[:19].replace("T", " ")


def _document(title: str, options: ExportOptions, body: str, box: str, up: str) -> bytes:
    logo = ""
    if options.logo:
        width = f' width="{options.logo_width}"' if options.logo_width > 0 else ""
        logo = f'<img src="{escape(options.logo)}" alt=""{width}>'
    name = escape(plain(options.title))
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
