"""What was heard of theirs, as a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.model import File, ListedFile, Listing, Status, StoredFile, UpstreamEntry
from pypid.core.packaging.names import project_name
from pypid.core.records.upstream_entry import dump_heading, dump_listed, load_entry
from pypid.core.simple_api.listed_files import BLOCK

SPAM = project_name("spam")
WHEN = datetime(2026, 1, 2, 3, 4, 5, 678900, tzinfo=UTC)


def a_file(number: int, **fields: object) -> File:
    """A file of theirs."""
    filename = f"spam-{number}.tar.gz"
    return (StoredFile if "key" in fields else ListedFile)(
        project=SPAM,
        filename=filename,
        version=str(number),
        sha256="ab" * 32,
        size=number,
        **fields,
    )  # type: ignore[arg-type]


def said(count: int | None, **fields: object) -> Listing:
    """That there are so many files."""
    files = (
        None
        if count is None
        else tuple(a_file(number, source="https://x.example/f") for number in range(count))
    )
    return Listing(
        name=SPAM, files=files, confirmed=WHEN, index="https://x.example/simple/", **fields
    )  # type: ignore[arg-type]


texts = st.text(max_size=20) | st.sampled_from(('","files":[', '\\",\\"files\\":', "\ud7ff", '"'))
files = st.builds(
    a_file,
    st.integers(0, 9),
    yanked=st.none() | texts,
    requires_python=st.none() | texts,
    seen=st.none() | st.just(WHEN),
    key=texts,
)
heards = st.builds(
    lambda said, kept, touched, serial: UpstreamEntry(
        name=SPAM, listing=said, kept=tuple(kept), touched=tuple(touched), serial=serial
    ),
    st.none()
    | st.builds(
        said,
        st.none() | st.sampled_from((0, 1, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK)),
        etag=st.none() | texts,
        status=st.sampled_from(Status),
        status_reason=texts,
    ),
    st.lists(files, max_size=3),
    st.lists(st.tuples(texts, st.integers(0, 1 << 40)), max_size=3),
    st.integers(0, 1 << 50),
)


def dumped(entry: UpstreamEntry) -> tuple[bytes, bytes]:
    """Return the heading and the listed files, as the catalog stores them."""
    listing = entry.listing
    return dump_heading(entry), dump_listed(None if listing is None else listing.files)


class LineTests(SynchronousTestCase):
    """What the catalog stores of an upstream project."""

    @settings(max_examples=40, deadline=None, database=None)
    @given(heards)
    def test_round_trip(self, heard: UpstreamEntry) -> None:
        """What was dumped comes back but for its serial, whatever stands in its texts."""
        heading, listed = dumped(heard)
        self.assertEqual(load_entry(heading, listed), evolve(heard, serial=0))
        self.assertEqual(json.loads(heading)["name"], SPAM)

    def test_damaged(self) -> None:
        """What was cut, or whose blocks are others than it says, is refused."""
        heading, listed = dumped(UpstreamEntry(name=SPAM, listing=said(3)))
        for damaged in (
            (heading[:-40], listed),
            (heading, listed[:-1]),
            (heading, b""),
            (heading.replace(b'"counts":[', b'"counts":[1,'), listed),
            (b"[]", listed),
            (b"", listed),
        ):
            with self.assertRaises(Unreadable):
                load_entry(*damaged)
