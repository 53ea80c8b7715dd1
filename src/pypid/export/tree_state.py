"""The newest files that pages and feeds of an export show, and what it remembers of the tree, so
that the next one need only look at the projects that have changed since.

The document is JSON: a line with a `_Head`, then lines with lists of `ProjectState`. A project's
fingerprint consists of the serials of its catalog entries; serials never repeat.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from hashlib import sha256
from heapq import nlargest, nsmallest
from html import escape
from itertools import islice

import msgspec
from attrs import define, evolve, field, frozen
from msgspec.structs import replace

from pypid import __version__
from pypid.core.cooldown import BEGINNING
from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import choose_release
from pypid.core.policy import Claims, Policy
from pypid.core.presentation.feeds import UPDATES, News, newest_first, news_of
from pypid.core.simple_api.listed_files import plain, utc_text
from pypid.export.tree import ExportOptions

# HTML pages: the start page with its filter box, and the changelog.
#
# Paths and links are those of dumb-pypi. Everything out of a list is escaped; the only script is
# `FILTER`.

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


def first_page(
    names: Iterable[ProjectName], newest: NewestProjects, options: ExportOptions
) -> bytes:
    """Return the start page: all projects, with a box to filter them."""
    generated = newest.made
    lines = "".join(
        [
            f'<a class="package" href="simple/{name}/index.html" data-name="{name}">'
            f"<strong>{name}</strong> (latest version: "
            f"{escape(newest.version(name) or 'unknown')})</a>\n"
            for name in names
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


def changelog_page(newest: NewestProjects, options: ExportOptions) -> bytes:
    """Return the page of the newest files. Each line links to its project's page, which has the
    file's address.
    """
    lines = "".join(map(_line, newest.lines(SHOWN)))
    table = (
        "<table>\n<tr><th>Filename</th><th>Upload Time</th><th>Uploaded By</th></tr>\n"
        f"{lines}</table>"
    )
    body = f"<h2>Package Changelog</h2>\n{table}\n"
    return _document(f"Changelog | {options.title}", options, body, "", "../")


def _line(line: _Line) -> str:
    return (
        f'<tr><td><a href="../simple/{line.project}/">{escape(line.filename)}</a></td>'
        f"<td>{_time(line.uploaded)}</td><td>{escape(plain(line.uploader))}</td></tr>\n"
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


# The newest files, releases and projects of a view, for the HTML pages and the feeds, without
# holding every file.

SHOWN, HELD = 1000, 4000
"""Number of files in the changelog, and the minimum number remembered, so that others move up when
some are removed.
"""


class _Line(msgspec.Struct, frozen=True, order=True, array_like=True, gc=False):
    uploaded: datetime
    filename: str
    project: ProjectName
    uploader: str


class ProjectNews(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """What the HTML pages and the feeds say of one project."""

    version: str | None = None
    """Its newest version."""
    first: News | None = None
    """Its first release."""
    lines: tuple[_Line, ...] = ()
    """Its newest files."""
    releases: tuple[News, ...] = ()


def news_of_project(project: Project, since: datetime = BEGINNING) -> ProjectNews:
    """Return the news of a project as it is seen; of its files only those uploaded `since` then."""
    news = news_of(project)
    lines = [
        _Line(file.uploaded, plain(file.filename), file.project, file.uploader or "")
        for file in project.files
        if file.uploaded is not None and file.uploaded >= since
    ]
    return ProjectNews(
        choose_release(project),
        news[-1] if news else None,
        tuple(nlargest(HELD, lines)),
        news[:UPDATES],
    )


@define(eq=False)
class NewestProjects:
    """The newest release of each project, and those files and releases that may be among the
    newest.
    """

    made: datetime | None = None
    """When the tree was generated, if the HTML pages are to say so; else None."""
    _known: dict[ProjectName, ProjectNews] = field(factory=dict, init=False, repr=False)
    since: datetime = field(default=BEGINNING, init=False)
    """Files uploaded before this time are not remembered."""
    _held: int = field(default=0, init=False)

    def note(self, name: ProjectName, news: ProjectNews) -> None:
        """Record the news of a project (`news_of_project`)."""
        self.forget(name)
        self._known[name] = self._recent(news)
        self._held += len(self._known[name].lines)
        if self._held > 2 * HELD:
            self._trim()

    def restore(self, since: datetime, known: Mapping[ProjectName, ProjectNews]) -> None:
        """Record the news that an earlier export recorded. `since`: what it had."""
        self.since = since
        self._known |= known
        self._held = sum(len(news.lines) for news in self._known.values())

    def news(self, name: ProjectName) -> ProjectNews | None:
        """Return what is recorded of the project, or None."""
        return self._known.get(name)

    def unread(self, names: Iterable[ProjectName]) -> list[ProjectName]:
        """Return those of the projects that were not recorded yet, in order."""
        return sorted(name for name in names if name not in self._known)

    def forget(self, name: ProjectName) -> None:
        """Forget a project that is no longer seen."""
        known = self._known.pop(name, None)
        if known is not None:
            self._held -= len(known.lines)

    def _trim(self) -> None:
        """Keep the newest files, and the releases that may be among the newest."""
        kept = self.lines(HELD)
        self.since = kept[-1].uploaded
        for name, known in self._known.items():
            self._known[name] = self._recent(known)
        self._held = sum(len(known.lines) for known in self._known.values())

    def _recent(self, news: ProjectNews) -> ProjectNews:
        since = self.since
        oldest = [line.uploaded for line in news.lines[-1:]]
        oldest += [release.uploaded for release in news.releases[-1:]]
        if all(uploaded >= since for uploaded in oldest):  # both begin with the newest
            return news
        return replace(
            news,
            lines=tuple(line for line in news.lines if line.uploaded >= since),
            releases=tuple(release for release in news.releases if release.uploaded >= since),
        )

    def lines(self, count: int) -> list[_Line]:
        """Return the newest files."""
        found = (line for known in list(self._known.values()) for line in known.lines)
        return nlargest(count, found)

    def version(self, name: ProjectName) -> str | None:
        """Return the newest version of the project; None if none is known."""
        known = self._known.get(name)
        return None if known is None else known.version

    def releases(self, count: int) -> list[News]:
        """Return the newest releases of all projects."""
        found = (news for known in list(self._known.values()) for news in known.releases)
        return nsmallest(count, found, key=newest_first)

    def projects(self, count: int) -> list[News]:
        """Return the first releases of the newest projects."""
        found = (known.first for known in list(self._known.values()) if known.first is not None)
        return nsmallest(count, found, key=newest_first)


FORMAT = 1
BLOCK = 256
"""Projects on one line: in a thread, other threads run after each line."""

Fingerprint = tuple[int, int]
"""The serials of the local and of the upstream entry; -1 for one that the page does not show."""


class ProjectState(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A project whose pages are in the tree."""

    name: ProjectName
    fingerprint: Fingerprint
    until: datetime | None
    """When the pages change by themselves, because a file becomes old enough."""
    news: ProjectNews


class _Head(msgspec.Struct, frozen=True):
    format: int
    basis: str
    since: datetime
    projects: int


@frozen
class TreeState:
    """The projects of a tree. `since`: see `NewestProjects.since`."""

    since: datetime
    projects: Mapping[ProjectName, ProjectState] = field(repr=False)


@frozen
class TreeBasis:
    """Everything but the projects that pages depend on."""

    options: ExportOptions
    policy: Policy
    fetches: bool
    """Whether the user of the view may have pypid fetch from upstream."""
    generation: str
    """`Catalog.generation`."""

    def text(self) -> str:
        """Return a digest of all of it: a document with another one is void."""
        options = evolve(self.options, dated=False)
        policy = evolve(self.policy, claims=Claims())  # part of each fingerprint
        digests = sorted(self.policy.restrictions.current.digests)
        whole = (__version__, options, repr(policy), digests, self.fetches, self.generation)
        return sha256(repr(whole).encode()).hexdigest()


_encoder = msgspec.json.Encoder()
_head = msgspec.json.Decoder(_Head)
_block = msgspec.json.Decoder(list[ProjectState])


def dump_state(basis: str, since: datetime, projects: Iterable[ProjectState]) -> bytes:
    """Return the document."""
    left, lines, count = iter(projects), list[bytes](), 0
    while block := list(islice(left, BLOCK)):
        count += len(block)
        lines.append(_encoder.encode(block))
    return b"\n".join((_encoder.encode(_Head(FORMAT, basis, since, count)), *lines))


def load_state(data: bytes, basis: str) -> TreeState | None:
    """Return the content of a document; None if it is damaged, or has another basis."""
    first, *lines = data.split(b"\n")
    try:
        head = _head.decode(first)
        if head.format != FORMAT or head.basis != basis:
            return None
        projects = {each.name: each for line in lines for each in _block.decode(line)}
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    return TreeState(head.since, projects) if len(projects) == head.projects else None
