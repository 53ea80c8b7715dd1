"""What was heard of theirs, as a line."""

from __future__ import annotations

import json
from datetime import UTC, datetime

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import Unreadable
from pypid.core.model import File, ListedFile, Listing, Status, StoredFile, UpstreamEntry
from pypid.core.packaging.names import project_name
from pypid.core.records.documents import load_head
from pypid.core.records.upstream_entry import dump_upstream_entry, load_upstream_entry
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


class LineTests(SynchronousTestCase):
    """`dump_heard` and `load_heard`."""

    @settings(max_examples=40, deadline=None, database=None)
    @given(heards)
    def test_round_trip(self, heard: UpstreamEntry) -> None:
        """What was dumped comes back, in one line of JSON, whatever stands in its texts."""
        line = dump_upstream_entry(heard)
        self.assertNotIn(b"\n", line)
        self.assertEqual(load_upstream_entry(line), heard)
        self.assertEqual(json.loads(line)["name"], SPAM)
        head = load_head(line)
        status = "active" if heard.listing is None else heard.listing.status.value
        self.assertEqual(
            (head.name, head.serial, head.status, head.keeps),
            (SPAM, heard.serial, status, bool(heard.kept)),
        )

    def test_damaged(self) -> None:
        """A line that was cut, or whose blocks are not where it says, is refused."""
        line = dump_upstream_entry(UpstreamEntry(name=SPAM, listing=said(3)))
        for damaged in (
            line[:-40],
            line[: line.index(b',"files"')] + b"}",
            line.replace(b'"counts":[', b'"counts":[1,'),
            b"[]",
            b"",
        ):
            with self.assertRaises(Unreadable):
                load_upstream_entry(damaged)
