"""Listed files as compact bytes: what was packed comes back, and pages are the same."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime, timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.model import ListedFile, Listing, Project, UpstreamEntry, in_order
from pypid.core.packaging.names import project_name
from pypid.core.packaging.releases import release_versions
from pypid.core.records.upstream_entry import (
    load_entry,
    with_listing,
)
from pypid.core.simple_api import listed_files
from pypid.core.simple_api.listed_files import BLOCK, ShownFiles, packed
from pypid.core.simple_api.render import Format, render_forms, render_project
from tests.core.records.test_upstream_entry import dumped

SPAM = project_name("spam")
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)
URL = "https://files.example/"

texts = st.text(max_size=20) | st.sampled_from(
    ('"},{"filename":"', '"size":', '"url":"../../packages/spam/', '\\"', "\ud7ff", "", " ", "\r\n")
)
maybe_hex = st.none() | st.sampled_from(("ab" * 32, "cd" * 32))


def a_file(version: str, kind: int, **fields: object) -> ListedFile:
    """An upstream file."""
    filename = f"spam-{version}{('.tar.gz', '-py3-none-any.whl', '-py2-none-any.whl')[kind]}"
    folder = fields.pop("folder", "")
    return ListedFile(
        project=SPAM,
        filename=filename,
        version=version,
        source=f"{URL}{folder}{filename}",
        **fields,
    )  # type: ignore[arg-type]


a_listed_file = st.builds(
    a_file,
    st.sampled_from(("1.0", "1", "2.0", "3.0.dev1", "1.0.0")),
    st.integers(0, 2),
    folder=st.sampled_from(("", "a/", "b/?x=/", "c?y=")),
    sha256=maybe_hex,
    md5=st.none() | st.just("ef" * 16),
    blake2b_256=maybe_hex,
    digest=st.none() | st.just("sha512=" + "ab" * 64),
    size=st.none() | st.integers(0, 1 << 50),
    uploaded=st.none() | st.just(WHEN) | st.just(WHEN - timedelta(days=1, microseconds=900)),
    requires_python=st.none() | texts,
    yanked=st.none() | texts,
    metadata_sha256=maybe_hex,
    metadata_offered=st.booleans(),
    seen=st.none() | st.just(WHEN),
    provenance_url=st.none() | st.just("https://x.example/provenance"),
)
some_files = st.lists(a_listed_file, max_size=8, unique_by=lambda file: file.filename).map(
    lambda files: in_order(tuple(files))
)


def many(count: int) -> tuple[ListedFile, ...]:
    """So many files, in order."""
    return in_order(
        tuple(
            a_file(f"{number // 3}.0", number % 3, folder=f"{number}/", sha256="ab" * 32, size=1)
            for number in range(count)
        )
    )


class PackedTests(SynchronousTestCase):
    """`packed`."""

    @settings(max_examples=200, deadline=None, database=None)
    @given(some_files)
    def test_files_come_back(self, files: tuple[ListedFile, ...]) -> None:
        """All files come back as they were, one by one and by name, also through a line."""
        listed = packed(files)
        self.assertEqual(tuple(listed), files)
        self.assertEqual(listed, files)
        self.assertEqual(len(listed), len(files))
        for position, file in enumerate(files):
            self.assertEqual(listed[position], file)
            self.assertEqual(listed.named(file.filename), file)
        self.assertIsNone(listed.named("spam-9.tar.gz"))
        self.assertIsNone(listed.named("spam"))
        entry = UpstreamEntry(
            name=SPAM, listing=Listing(name=SPAM, files=listed, confirmed=WHEN, index=URL)
        )
        again = load_entry(*dumped(entry))
        self.assertEqual(again, entry)
        assert again.listing is not None
        self.assertEqual(again.listing.files, files)

    def test_damaged_line(self) -> None:
        """A line that has not one version for each file is refused."""
        listing = Listing(name=SPAM, files=packed(many(3)), confirmed=WHEN, index=URL)
        heading, listed = dumped(UpstreamEntry(name=SPAM, listing=listing))
        self.assertIn(b'"versions":[["0.0",3]]', heading)
        with self.assertRaises(Unreadable):
            load_entry(heading.replace(b'["0.0",3]', b'["0.0",2]'), listed)

    @settings(max_examples=200, deadline=None, database=None)
    @given(some_files, st.sampled_from(Format), st.sampled_from(("../../packages/", 'http://"/')))
    def test_pages(self, files: tuple[ListedFile, ...], format: Format, files_url: str) -> None:
        """Pages are byte for byte those of the files themselves, and so is the gzipped form."""
        project = Project(name=SPAM, files=files, serial=7)
        compact = evolve(project, files=packed(files))
        page, gzipped = render_forms(compact, format, files_url=files_url)
        self.assertEqual(page, render_project(project, format, files_url=files_url))
        if gzipped is not None:
            self.assertEqual(gzip.decompress(gzipped.body), page.body)
            self.assertNotEqual(gzipped.etag, page.etag)

    @settings(max_examples=200, deadline=None, database=None)
    @given(some_files, some_files, st.sets(st.integers(0, 7)), st.sampled_from(Format))
    def test_shown(
        self,
        files: tuple[ListedFile, ...],
        others: tuple[ListedFile, ...],
        hidden: set[int],
        format: Format,
    ) -> None:
        """Pages with hidden and replaced files are those of the files that remain."""
        now = {file.filename: file for file in others}
        replaced = {
            position: replace(now[file.filename], version=file.version)
            for position, file in enumerate(files)
            if file.filename in now
        }
        hidden &= set(range(len(files)))
        shown = ShownFiles(packed(files), replaced, frozenset(hidden))
        expected = tuple(
            replaced.get(position, file)
            for position, file in enumerate(files)
            if position not in hidden
        )
        self.assertEqual(shown, expected)
        self.assertEqual(len(shown), len(expected))
        for position, file in enumerate(files):
            found = None if position in hidden else replaced.get(position, file)
            self.assertEqual(shown.named(file.filename), found)
        self.assertIsNone(shown.named("spam-9.tar.gz"))
        for part in (slice(1, 3), slice(None, None, -2), slice(9, 9)):
            self.assertEqual(shown[part], expected[part])
        self.assertEqual([shown[number] for number in range(len(shown))], list(expected))
        plain, compact = Project(name=SPAM, files=expected), Project(name=SPAM, files=shown)
        self.assertEqual(release_versions(compact), release_versions(plain))
        self.assertEqual(compact.versions, plain.versions)
        page, gzipped = render_forms(compact, format)
        self.assertEqual(page.body.decode(), render_project(plain, format).body.decode())
        if gzipped is not None:
            self.assertEqual(gzip.decompress(gzipped.body), page.body)

    @settings(max_examples=200, deadline=None, database=None)
    @given(some_files, some_files, some_files)
    def test_changes(
        self,
        first: tuple[ListedFile, ...],
        second: tuple[ListedFile, ...],
        third: tuple[ListedFile, ...],
    ) -> None:
        """What becomes of listings does not depend on the size of blocks, of which only those that
        changed are compared.
        """
        found = []
        for size in (BLOCK, 2):
            for module in (listed_files, listed_files, listed_files):
                self.patch(module, "BLOCK", size)
            entry = UpstreamEntry(name=SPAM)
            for day, files in enumerate((first, second, second, (*first, *third)[:3], third)):
                plain = {file.filename: replace(file, seen=None) for file in files}
                listing = Listing(
                    name=SPAM,
                    files=packed(in_order(plain.values())),
                    confirmed=WHEN + timedelta(days=day),
                    index=URL,
                )
                entry = with_listing(entry, listing)
            assert entry.listing is not None
            found.append((tuple(entry.listing.files or ()), entry.history, entry.since))
        self.assertEqual(found[0], found[1])
