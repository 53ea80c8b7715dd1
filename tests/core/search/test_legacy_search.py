"""Searching projects by words."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.model import File, Project, in_order
from pypid.core.packaging.names import project_name
from pypid.core.search.legacy_search import MOST_WORDS, LegacySearchHit, LegacySearchQuery, search

WORDS = st.lists(st.text(alphabet="abAB-_. \u00c4", max_size=3), max_size=3)
NAMES = st.sampled_from(("ab", "a-b", "b", "ba-ab"))
RELEASES = st.lists(
    st.tuples(
        st.sampled_from(("1.0", "2.0", "2.1rc1")),
        st.none() | st.text(alphabet="abB \u00e4", max_size=4),
        st.booleans(),
    ),
    min_size=1,
    max_size=4,
)


def project(name: str, releases: list[tuple[str, str | None, bool]]) -> Project:
    """A project with a file for each release: its version, what it says of itself, whether it is
    yanked.
    """
    normal = project_name(name)
    files = [
        File(
            project=normal,
            filename=f"{name}-{version}-{number}.tar.gz",
            version=version,
            sha256="0" * 64,
            size=1,
            summary=summary,
            yanked="" if yanked else None,
        )
        for number, (version, summary, yanked) in enumerate(releases)
    ]
    return Project(name=normal, files=in_order(tuple(files)))


class SearchTests(SynchronousTestCase):
    """What is found."""

    def test_newest_that_fits(self) -> None:
        """A project is found by its newest release that fits: by name that is the newest, by a
        summary the one that says so.
        """
        spam = project(
            "spam", [("1.0", "Lovely", False), ("2.0", "Dull", False), ("3.0rc1", None, False)]
        )
        for criteria, found in (
            ({"name": ["spam"]}, LegacySearchHit("spam", "3.0rc1", "")),
            ({"summary": ["lovely"]}, LegacySearchHit("spam", "1.0", "Lovely")),
            ({"name": ["x"], "summary": ["L"]}, LegacySearchHit("spam", "2.0", "Dull")),
        ):
            self.assertEqual(search([spam], LegacySearchQuery.read(criteria, "or")), [found])
        self.assertEqual(
            search([spam], LegacySearchQuery.read({"summary": ["lovely", "dull"]}, "and")), []
        )

    @settings(max_examples=60, deadline=None, database=None)
    @given(
        st.lists(st.tuples(NAMES, RELEASES), max_size=4),
        WORDS,
        WORDS,
        st.sampled_from(("or", "and", "")),
    )
    def test_as_defined(
        self,
        made: list[tuple[str, list[tuple[str, str | None, bool]]]],
        names: list[str],
        summaries: list[str],
        kind: str,
    ) -> None:
        """Whatever is looked for: what is found fits in one column, is the newest that does, and
        nothing fitting is missing.
        """
        projects = [project(name, releases) for name, releases in made]
        query = LegacySearchQuery.read({"name": names, "summary": summaries}, kind)
        found = search(projects, query)
        every = all if kind == "and" else any
        wanted = []
        words = [[word.lower() for word in column if word] for column in (names, summaries)]
        for each in projects:
            files = [file for file in each.files if file.yanked is None] or list(each.files)
            fitting = [
                file
                for file in files
                if not any(words)
                or (words[0] and every(_in_name(word, each.name) for word in words[0]))
                or (
                    words[1]
                    and file.summary
                    and every(word in file.summary.lower() for word in words[1])
                )
            ]
            if fitting:
                wanted.append(
                    LegacySearchHit(each.name, fitting[-1].version, fitting[-1].summary or "")
                )
        self.assertEqual(found, wanted)

    def test_refused(self) -> None:
        """What is no structure of lists of words is refused, and so are too many words."""
        for criteria, kind in (
            ({"name": "spam"}, "or"),
            ({"name": [1]}, "or"),
            ({"summary": {"x": "y"}}, "or"),
            ({"name": ["x"] * (MOST_WORDS + 1)}, "or"),
            ("spam", "or"),
            ({"name": []}, None),
        ):
            self.assertRaises(ValueError, LegacySearchQuery.read, criteria, kind)
        self.assertEqual(
            len(LegacySearchQuery.read({"name": ["x"] * MOST_WORDS}, "or").names), MOST_WORDS
        )


def _in_name(word: str, name: str) -> bool:
    normal = word
    for character in "_.":
        normal = normal.replace(character, "-")
    while "--" in normal:
        normal = normal.replace("--", "-")
    return word in name or normal in name
