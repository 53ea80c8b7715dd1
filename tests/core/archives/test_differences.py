"""Two releases compared: `pypid.core.archives.differences` and
`pypid.core.archives.differences`.
"""

from __future__ import annotations

import io

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.archives.contents import Inner, list_members
from pypid.core.archives.differences import (
    LONGEST_VALUE,
    Changed,
    FieldDifference,
    MemberDifferences,
    choose_pair,
    metadata_differences,
    pairs_of,
    text_differences,
)
from pypid.core.model import File
from pypid.core.packaging.core_metadata import CoreMetadata, read_metadata
from pypid.core.packaging.names import project_name
from tests.distributions import metadata

SPAM = project_name("spam")


def read(*extra: tuple[str, str], **fields: str) -> CoreMetadata:
    return read_metadata(metadata(extra=extra, **fields))  # type: ignore[arg-type]


def files(*names: str) -> list[File]:
    return [
        File(project=SPAM, filename=name, version="1.0", sha256=None, size=None) for name in names
    ]


def members(data: bytes, filename: str) -> tuple[Inner, ...]:
    return list_members(io.BytesIO(data), filename).members


def turned(found: MemberDifferences) -> MemberDifferences:
    """The same from the other side."""
    changed = {path: Changed(each.new, each.old) for path, each in found.changed.items()}
    return MemberDifferences(found.removed, found.added, changed, found.same)


class MetadataTests(SynchronousTestCase):
    """Fields of the metadata."""

    @given(st.text(max_size=300), st.text(max_size=300), st.text(max_size=300))
    @settings(max_examples=60, deadline=None, database=None)
    def test_changed_description_never_looks_unchanged(
        self, start: str, one: str, other: str
    ) -> None:
        """The two sides of a changed description differ, also where its length does not."""
        old, new = (CoreMetadata(fields={"description": f"x{start}{end}"}) for end in (one, other))
        for found in metadata_differences(old, new):
            [changed] = found.changed
            self.assertNotEqual(changed.old, changed.new)
        self.assertEqual(metadata_differences(old, new) == (), one == other)

    def test_long_and_hostile(self) -> None:
        """Long values are cut where they are told; what is no requirement is compared as it is;
        UNKNOWN says nothing.
        """
        found = metadata_differences(
            read(("License", "UNKNOWN"), ("Requires-Dist", "!!")),
            read(("License", "x" * 9000), ("Requires-Dist", "<x>")),
        )
        self.assertEqual(
            found[0], FieldDifference("Requires-Dist", added=("<x>",), removed=("!!",))
        )
        self.assertEqual(len(found[1].added[0]), LONGEST_VALUE + 3)


class PairTests(SynchronousTestCase):
    """Files of two releases."""

    def test_pairs(self) -> None:
        """Wheels of the same tags, sdists whatever they are packed with, and eggs of one Python
        belong together.
        """
        old = files(
            "spam-1.0-py3-none-any.whl",
            "spam-1.0.tar.gz",
            "spam-1.0-1-cp311-cp311-linux_x86_64.whl",
            "spam-1.0-py3.6.egg",
        )
        new = files(
            "spam-2.0-py3-none-any.whl",
            "spam-2.0.zip",
            "spam-2.0-cp311-cp311-linux_x86_64.whl",
            "spam-2.0.tar.gz",
        )
        pairs = pairs_of(old, new)
        self.assertEqual(
            [(pair.kind, pair.old is not None, pair.new is not None) for pair in pairs],
            [
                ("1-cp311-cp311-linux_x86_64", True, False),
                ("cp311-cp311-linux_x86_64", False, True),
                ("egg py3.6", True, False),
                ("py3-none-any", True, True),
                ("sdist", True, True),
                ("sdist (2)", False, True),
            ],
        )
        chosen = choose_pair(pairs)
        assert chosen is not None
        self.assertEqual(chosen.kind, "py3-none-any")
        self.assertEqual(choose_pair(pairs, "sdist"), pairs[4])
        self.assertIsNone(choose_pair(pairs, "nothing"))
        self.assertIsNone(choose_pair(pairs_of(old, ())))


class TextTests(SynchronousTestCase):
    """Lines of two texts."""

    @given(*[st.lists(st.sampled_from("ab"), max_size=12)] * 2)
    @settings(max_examples=150, deadline=None, database=None)
    def test_patch(self, one: list[str], other: list[str]) -> None:
        """What is taken out and put in makes the one text the other; nothing
        differs from itself.
        """
        found = text_differences("\n".join(one), "\n".join(other))
        assert found is not None
        before, after = "\n".join(one).split("\n"), "\n".join(other).split("\n")
        out = {line.old for line in found if line.mark == "-"}
        put = {line.new for line in found if line.mark == "+"}
        kept = [text for number, text in enumerate(before, 1) if number not in out]
        self.assertEqual(kept, [text for number, text in enumerate(after, 1) if number not in put])
        for line in found:
            if line.mark != "@":
                self.assertEqual({before[line.old - 1]} if line.old else {line.text}, {line.text})
                self.assertEqual({after[line.new - 1]} if line.new else {line.text}, {line.text})
        self.assertEqual(text_differences("\n".join(one), "\n".join(one)), ())
