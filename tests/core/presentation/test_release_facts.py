"""What metadata says, as people are shown it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.presentation.project_view import LONGEST, Facts, facts_of, links, safe_url
from tests.distributions import metadata

HOSTILE = st.text(max_size=60) | st.sampled_from(
    [
        "<script>alert(1)</script>",
        "javascript:alert(1)",
        "https://a@b.example/",
        '"><img src=x onerror=alert(1)>',
        "\x00\u202e",
        "a@b.example",
    ]
)

FIELDS = (
    *(
        "Author",
        "Author-email",
        "License",
        "Keywords",
        "Classifier",
        "Project-URL",
        "Requires-Dist",
        "Provides-Extra",
    ),
    *("Home-page", "Platform", "Description-Content-Type"),
)
UNSAFE = (
    *(
        "javascript:alert(1)",
        "data:text/html,x",
        "//example.org",
        "ftp://example.org",
        "https://",
        "https://good@evil.example",
    ),
    *(
        "https://[",
        "https://a b.example",
        "https://example.org:99999/",
        'https://example.org/"x',
        "https://ex\u2028ample.org",
    ),
)


def said(*extra: tuple[str, str], description: str = "", **more: str) -> Facts:
    return facts_of(metadata(extra=extra, description=description, **more))


class FactsTests(SynchronousTestCase):
    """All of it."""

    @given(st.lists(st.tuples(st.sampled_from(FIELDS), HOSTILE), max_size=12))
    @settings(max_examples=150, deadline=None, database=None)
    def test_hostile(self, fields: list[tuple[str, str]]) -> None:
        """Whatever stands in metadata, it can be shown: one line each, and every link leads to a
        web page.
        """
        facts = said(*[(name, " ".join(value.split())) for name, value in fields])
        for person in (*facts.authors, *facts.maintainers):
            self.assertTrue(person.name.isprintable() and len(person.name) <= LONGEST, person)
            self.assertTrue(person.mailto is None or person.mailto.startswith("mailto:"))
        for link in facts.links:
            self.assertTrue(link.url is None or link.url.startswith(("http://", "https://")), link)
        for text in facts.keywords:
            self.assertTrue(text.isprintable())


class LinkTests(SynchronousTestCase):
    """Project URLs."""

    def test_unsafe(self) -> None:
        """What leads nowhere safe is shown, and is no link."""
        for url in UNSAFE:
            self.assertIsNone(safe_url(url), url)
            [link] = links({"project_urls": {"Home": url}})
            self.assertIsNone(link.url)
        self.assertEqual(safe_url("HTTPS://example.org/x?y#z"), "HTTPS://example.org/x?y#z")


class TextTests(SynchronousTestCase):
    """Single lines."""
