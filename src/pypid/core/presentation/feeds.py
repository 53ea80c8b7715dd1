"""RSS 2.0 feeds like the public index's: the newest releases, the newest projects, and the releases
of one project.

``/rss/updates.xml``, ``/rss/packages.xml`` and ``/rss/project/<name>/releases.xml``. Pure; the
feeds contain no time of generation.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from email.utils import format_datetime
from html import escape
from urllib.parse import quote

import msgspec
from attrs import frozen

from pypid.core.model import Project
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.releases import releases
from pypid.core.simple_api.listed_files import plain

CONTENT_TYPE = "text/xml; charset=utf-8"
UPDATES, PROJECTS, OF_PROJECT = 100, 40, 100
"""Maximum number of items of each feed."""


@frozen
class FeedLinks:
    """Targets of a feed's links: the folder of project pages below the base, and whether each
    release has a page below its project's.
    """

    project: str
    releases: bool


SIMPLE, PAGES = FeedLinks("simple", False), FeedLinks("project", True)
"""Links to the pages of the Simple API, which static exports have as well, and to the web pages."""


class News(msgspec.Struct, frozen=True, gc=False):
    """A release, dated by its first upload."""

    project: ProjectName
    version: str
    uploaded: datetime
    summary: str = ""
    uploader: str = ""


def news_of(project: Project) -> tuple[News, ...]:
    """Return the releases that a viewer sees, newest first, without those of unknown time."""
    found = []
    for release in releases(project):
        dated = [(file.uploaded, file) for file in release.files if file.uploaded is not None]
        if dated and release.version:
            moment, first = min(dated, key=lambda each: (each[0], each[1].filename))
            found.append(
                News(
                    project.name, release.version, moment, first.summary or "", first.uploader or ""
                )
            )
    return tuple(sorted(found, key=newest_first))


def newest_first(news: News) -> tuple[float, str, str]:
    """Return the sort key of a feed's items."""
    return (-news.uploaded.timestamp(), news.project, news.version)


def updates(
    newest: Iterable[News], base_url: str, where: FeedLinks = SIMPLE, index: str = ""
) -> bytes:
    """Return the feed of releases. `base_url`: that of the index, absolute or relative to the feed,
    without its last slash; `index`: the name of a named index, for the title.
    """
    return _feed(
        _titled("Updates", index),
        base_url,
        "The newest releases",
        (_release(news, base_url, where) for news in newest),
    )


def projects(
    newest: Iterable[News], base_url: str, where: FeedLinks = SIMPLE, index: str = ""
) -> bytes:
    """Return the feed of projects, each with its first release."""
    items = (
        _item(
            f"{news.project} added",
            f"{base_url}/{where.project}/{news.project}/",
            news.project,
            news,
            news.summary,
        )
        for news in newest
    )
    return _feed(_titled("Projects", index), base_url, "The newest projects", items)


def releases_of(
    name: ProjectName,
    newest: Sequence[News],
    base_url: str,
    where: FeedLinks = SIMPLE,
    index: str = "",
) -> bytes:
    """Return the feed of one project's releases."""
    items = (_release(news, base_url, where, news.version) for news in newest[:OF_PROJECT])
    return _feed(
        _titled(f"Releases of {name}", index),
        f"{base_url}/{where.project}/{name}",
        f"The newest releases of {name}",
        items,
    )


def _release(news: News, base_url: str, where: FeedLinks, title: str | None = None) -> str:
    words = title or f"{news.project} {news.version}"
    version = f"{quote(news.version, safe='+!')}/" if where.releases else ""
    link = f"{base_url}/{where.project}/{news.project}/{version}"
    return _item(words, link, f"{news.project} {news.version}", news, news.summary)


def _item(title: str, link: str, guid: str, news: News, description: str) -> str:
    element = f"<description>{_text(description)}</description>" if description else ""
    moment = format_datetime(news.uploaded, usegmt=True)
    return (
        f"<item><title>{_text(title)}</title><link>{_text(link)}</link>{element}"
        f'<guid isPermaLink="false">{_text(guid)}</guid><pubDate>{moment}</pubDate></item>\n'
    )


def _titled(title: str, index: str) -> str:
    return f"{title} ({index})" if index else title


def _feed(title: str, link: str, description: str, items: Iterable[str]) -> bytes:
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<rss version="2.0">\n<channel>\n'
        f"<title>{_text(title)}</title>\n<link>{_text(link)}/</link>\n"
        f"<description>{_text(description)}</description>\n"
        f"<language>en</language>\n{''.join(items)}</channel>\n</rss>\n"
    ).encode()


def _text(text: str) -> str:
    return escape(plain(text))
