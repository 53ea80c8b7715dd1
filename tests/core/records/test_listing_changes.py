"""What upstream says, beside what it said before."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, ListedFile, Listing
from pypid.core.packaging.names import project_name
from pypid.core.records.upstream_entry import merged
from tests.support import BEGINNING

SPAM = project_name("spam")
FILE = ListedFile(
    project=SPAM,
    filename="spam-1.0.tar.gz",
    version="1.0",
    sha256="ab" * 32,
    size=1,
    uploaded=BEGINNING,
    source="https://x/f",
)
LATER = BEGINNING + timedelta(days=1)
METADATA = "cd" * 32


def said(*files: File, asked: object = BEGINNING) -> Listing:
    """That there are these files."""
    return Listing(name=SPAM, files=files, confirmed=asked, index="https://x/")  # type: ignore[arg-type]


files = st.lists(
    st.builds(
        lambda number, **fields: replace(FILE, filename=f"spam-{number}.tar.gz", **fields),
        st.integers(0, 4),
        sha256=st.sampled_from(("ab" * 32, "12" * 32, None)),
        uploaded=st.sampled_from((BEGINNING, None)),
        metadata_sha256=st.sampled_from((METADATA, "ef" * 32, None)),
    ),
    unique_by=lambda file: file.filename,
    max_size=4,
)


class RememberedTests(SynchronousTestCase):
    """`remembered`."""

    def test_metadata(self) -> None:
        """A hash that was learnt stays with the file while it is the same, and never goes before
        upstream's.
        """
        other = replace(FILE, filename="spam-2.0.tar.gz")
        before = said(replace(FILE, metadata_sha256=METADATA), other)
        self.assertEqual(merged(said(FILE, other), before), before)
        for fresh in (
            replace(FILE, sha256="12" * 32),
            replace(FILE, sha256=None),
            replace(FILE, metadata_sha256="12" * 32),
        ):
            self.assertEqual(merged(said(fresh), before), said(fresh))

    def test_seen(self) -> None:
        """A file without upload time is dated by when it was first seen with these bytes."""
        bare = replace(FILE, uploaded=None)
        first = merged(said(bare), None)
        self.assertEqual(first, said(replace(bare, seen=BEGINNING)))
        again = merged(said(bare, asked=LATER), first)
        self.assertEqual(again.files, first.files)
        changed = merged(said(replace(bare, sha256="12" * 32), asked=LATER), first)
        self.assertEqual(changed.files, (replace(bare, sha256="12" * 32, seen=LATER),))
        self.assertEqual(merged(said(FILE, asked=LATER), first), said(FILE, asked=LATER))

    def test_nothing_before(self) -> None:
        """Without anything before, or now, it is what was said."""
        gone = evolve(said(), files=None)
        for before in (None, said(), gone):
            self.assertEqual(merged(said(FILE), before), said(FILE))
            self.assertEqual(merged(gone, before), gone)

    @settings(max_examples=60, deadline=None, database=None)
    @given(files, files)
    def test_the_same_object(self, old: list[File], new: list[File]) -> None:
        """The files of a listing that is as it was are the same object; nothing but dates and
        hashes is added to others.
        """
        before = merged(said(*old), None)
        copies = [replace(file) for file in new]
        made = merged(said(*copies, asked=LATER), before)
        assert made.files is not None and before.files is not None
        self.assertIs(
            merged(said(*(replace(file) for file in old), asked=LATER), before).files,
            before.files,
        )
        for file, fresh in zip(made.files, new, strict=True):
            self.assertEqual(
                replace(file, seen=fresh.seen, metadata_sha256=fresh.metadata_sha256), fresh
            )
            self.assertEqual(file.seen is None, fresh.uploaded is not None)
