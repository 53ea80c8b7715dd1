"""Other values in the text of a configuration."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.configuration.ini import read, with_values

words = st.sampled_from(["one", "two", "three"])
values = st.sampled_from(["1", "a b", "x\n  y", ""])


class WithValuesTests(SynchronousTestCase):
    """`with_values`."""

    @given(
        st.dictionaries(words, st.dictionaries(words, values)),
        st.dictionaries(st.tuples(words, words), st.one_of(st.none(), st.sampled_from(["9", ""]))),
    )
    def test_changed_values_are_read_back(
        self,
        sections: dict[str, dict[str, str]],
        changes: dict[tuple[str, str], str | None],
    ) -> None:
        """The new values are read back, removed keys are gone, and all others are as before."""
        text = "".join(
            f"[{name}]\n" + "".join(f"{key} = {value}\n" for key, value in keys.items())
            for name, keys in sections.items()
        )
        before = found(text)
        expected = {place: value for place, value in before.items() if place not in changes}
        expected |= {place: value for place, value in changes.items() if value is not None}
        self.assertEqual(found(with_values(text, changes)), expected)

    def test_former_values_become_comments(self) -> None:
        """A reader still sees what was there, with continuation lines."""
        text = with_values("[a]\nx = 1\n  2\n[b]\ny = 3 ; why\n", {("a", "x"): "9"})
        self.assertEqual(text, "[a]\nx = 9\n# x = 1\n#   2\n[b]\ny = 3 ; why\n")


def found(text: str) -> dict[tuple[str, str], str]:
    """The values by section and key. The text has no problems."""
    document = read(text, "test.ini")
    assert document.problems == (), document.problems
    return {
        (name, key): entry.text
        for name, section in document.sections.items()
        for key, entry in section.entries.items()
    }
