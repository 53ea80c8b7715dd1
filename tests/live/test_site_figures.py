"""What the site costs whoever looks at it: bytes over the wire, and requests, as a browser counts
them that has kept none.
"""

import functools
import os
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import TYPE_CHECKING, Any, Final

from pypid.core.model import File, StoredFile
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import dump_record
from pypid.core.records.layout import ObjectKind, key
from tests.live.browser import Look, SiteTestCase
from tests.live.daemon import LiveIndex, shared
from tests.live.projects import publish
from tests.live.site_content import MARKDOWN, does, published, settings, stock

if TYPE_CHECKING:
    from playwright.sync_api import Page

MOST: Final = 100_000
"""Bytes of a first visit, heads included."""
FILES: Final = 10_000
MOMENT: Final = datetime(2026, 1, 2, tzinfo=UTC)
PROJECT: Final = project_name("quite-large")


@functools.cache
def large() -> LiveIndex:
    """The pypid of this process with a project that has very many files, and a long README."""
    index = shared(settings(server="# large"))
    stock(index)
    newest = published(
        PROJECT, "9999.0", summary="Large", readme=MARKDOWN * 40, content_type="text/markdown"
    )
    publish(index, newest)
    folder = index.storage / PROJECT
    for number in range(FILES - 1):
        file = made_up(number)
        (folder / file.filename).touch()
        os.truncate(folder / file.filename, 100_000)
        (index.storage / key(PROJECT, file.filename, ObjectKind.RECORD)).write_bytes(
            dump_record(file)
        )
    does(index, "POST", f"/api/rebuild/{PROJECT}")
    return index


def made_up(number: int) -> File:
    """One of its files: a wheel, or an sdist."""
    version = f"1.{number // 2}.0"
    filename = f"quite_large-{version}" + ("-py3-none-any.whl" if number % 2 else ".tar.gz")
    digest = sha256(filename.encode()).hexdigest()
    return StoredFile(
        project=PROJECT,
        filename=filename,
        version=version,
        sha256=digest,
        size=100_000,
        uploaded=MOMENT + timedelta(minutes=number),
        requires_python=">=3.9",
        key=key(PROJECT, filename),
        uploader="ci",
        summary="Large",
    )


class TransferTests(SiteTestCase):
    """First visits."""

    def start(self) -> LiveIndex:
        return large()

    def transferred(self, path: str, look: Look) -> tuple[int, int, "Page"]:
        """Bytes and requests of a first visit to it, and the window."""
        page = self.visit(look, "about:blank")
        devtools = page.context.new_cdp_session(page)
        got: list[float] = []

        def ended(event: dict[str, Any]) -> None:
            got.append(event["encodedDataLength"])

        devtools.on("Network.loadingFinished", ended)
        devtools.send("Network.enable")
        page.goto(path, wait_until="networkidle")
        return int(sum(got)), len(got), page

    def test_first_visits(self) -> None:
        """Home, a project, one with 10,000 files, all its versions, and what a search finds come in
        less than 100 kB and with fewer than six requests.
        """
        for path in (
            "/",
            "/project/spam/",
            f"/project/{PROJECT}/",
            f"/project/{PROJECT}/-/versions",
            "/search?q=spam",
        ):
            size, requests, _ = self.transferred(path, Look())
            self.assertLess(size, MOST, path)
            self.assertLess(requests, 6, path)

    def test_again(self) -> None:
        """What does not change is not asked for again: the second page costs the page itself."""
        page = self.visit(Look())
        page.goto("/project/spam/")
        sizes = page.evaluate(
            "() => performance.getEntriesByType('resource').map(each => each.transferSize)"
        )
        self.assertEqual(sum(sizes), 0, sizes)

    def test_first_render(self) -> None:
        """What is on the page is there before any script has run: with scripts off it has the same
        headings and links.
        """
        for path in ("/", "/project/spam/", "/search?q=spam"):
            seen = []
            for words in ("light wide", "light wide plain"):
                page = self.visit(Look.of(words), path)
                seen.append(
                    [
                        each.inner_text()
                        for each in page.get_by_role("main").get_by_role("heading").all()
                    ]
                )
            self.assertEqual(*seen)
