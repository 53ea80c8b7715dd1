"""Names that resemble others."""

import string
import time

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.packaging.names import ProjectName, project_name
from pypid.core.packaging.similar_names import (
    MOST_FOUND,
    Likeness,
    NameIndex,
    SimilarName,
    popular_names,
)

_NAMES = st.text(string.ascii_lowercase + string.digits + "-", min_size=1, max_size=80).map(
    lambda text: project_name(f"a{text}b")
)


class SimilarNames(SynchronousTestCase):
    """What a new name can be mistaken for."""

    index = NameIndex.of(popular_names())

    def likeness(self, name: str, other: str) -> Likeness | None:
        """Return how `name` resembles `other`."""
        found = {each.name: each.likeness for each in self.index.similar(project_name(name))}
        return found.get(ProjectName(other))

    def test_names_that_were_used_to_deceive_are_found(self) -> None:
        for name, other, likeness in (
            ("python3-dateutil", "python-dateutil", Likeness.AFFIX),
            ("jeilyfish", "jellyfish", Likeness.SPELLING),
            ("reqeusts", "requests", Likeness.EDIT),
            ("requestss", "requests", Likeness.EDIT),
            ("beautifulsoup", "beautifulsoup4", Likeness.EDIT),
            ("c0lorama", "colorama", Likeness.SPELLING),
            ("openai-official", "openai", Likeness.AFFIX),
            ("pyopenai", "openai", Likeness.AFFIX),
            ("typing-extensi0ns", "typing-extensions", Likeness.SPELLING),
            ("typingextensions", "typing-extensions", Likeness.SPELLING),
            ("extensions-typing", "typing-extensions", Likeness.WORDS),
            ("dateutil", "python-dateutil", Likeness.AFFIX),
            ("nurnpy", "numpy", Likeness.SPELLING),
        ):
            self.assertIs(self.likeness(name, other), likeness, name)

    def test_unrelated_names_are_not_similar(self) -> None:
        for name in ("acme-billing", "zzz", "internal-ledger-exports", "b"):
            self.assertEqual(self.index.similar(project_name(name)), ())

    def test_a_name_is_not_similar_to_itself(self) -> None:
        for name in popular_names():
            self.assertNotIn(name, [each.name for each in self.index.similar(name)])

    def test_the_list_of_popular_names_is_sorted_and_normalised(self) -> None:
        names = popular_names()
        self.assertEqual(list(names), sorted({project_name(name) for name in names}))
        self.assertGreater(len(names), 500)

    @given(_NAMES, st.data())
    def test_one_edit_is_found(self, name: ProjectName, data: st.DataObject) -> None:
        """Unless the name is too short or too long for edits to be looked up."""
        plain = name.replace("-", "").translate(str.maketrans("01imnwvrcld", "xxxxxxxxxxx"))
        known = project_name(plain)
        place = data.draw(st.integers(0, len(known) - 1))
        other = project_name(f"{known[:place]}9{known[place:]}")
        found = NameIndex.of([known]).similar(other)
        is_compared = 5 <= len(other) < 64
        if is_compared:
            self.assertEqual([each.name for each in found], [known])

    @given(st.lists(_NAMES, max_size=60), _NAMES)
    def test_what_is_found_is_known_and_bounded(
        self, known: list[ProjectName], name: ProjectName
    ) -> None:
        found = NameIndex.of(known).similar(name)
        self.assertLessEqual(len(found), MOST_FOUND)
        self.assertLessEqual({each.name for each in found}, set(known) - {name})
        self.assertEqual(len({each.name for each in found}), len(found))

    def test_long_names_take_no_longer_than_others(self) -> None:
        """Names may have 200 characters; the time for one is bounded."""
        index = NameIndex.of([project_name("a" * 200), project_name("a" * 63)])
        began = time.thread_time()
        for length in (62, 63, 64, 200):
            index.similar(project_name("b" * length))
        self.assertLess(time.thread_time() - began, 0.5)
        found = index.similar(project_name("a" * 100 + "-" + "a" * 99))
        self.assertEqual(found[:1], (SimilarName(project_name("a" * 200), Likeness.SPELLING),))
