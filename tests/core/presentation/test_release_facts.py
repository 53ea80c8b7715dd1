"""What metadata says, as people are shown it."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.core.presentation.release_facts import (
    LONGEST,
    MOST_CLASSIFIERS,
    MOST_KEYWORDS,
    MOST_LINKS,
    ClassifierKind,
    Contact,
    Facts,
    ProjectLink,
    facts_of,
    links,
    people,
    safe_url,
)
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

    def test_whole(self) -> None:
        """Metadata as a current build tool writes them are taken apart, and each part is where
        people look for it.
        """
        facts = said(
            ("Author-email", "Terry <terry@example.org>, Graham <graham@example.org>"),
            ("Maintainer", "The kitchen"),
            ("License-Expression", "MIT OR Apache-2.0"),
            ("Keywords", "breakfast,canned meat"),
            ("Classifier", "License :: OSI Approved :: MIT License"),
            ("Classifier", "Programming Language :: Python :: 3"),
            ("Classifier", "Programming Language :: Python :: 3.13"),
            ("Classifier", "Typing :: Typed"),
            ("Project-URL", "Source Code, https://example.org/spam"),
            ("Requires-Dist", "eggs>=1"),
            ("Description-Content-Type", "text/markdown"),
            name="Spam",
            metadata_version="2.4",
            requires_python=">=3.9",
            description="# Spam\n",
        )
        self.assertEqual(
            (facts.name, facts.summary, facts.requires_python), ("Spam", "Lovely spam", ">=3.9")
        )
        self.assertEqual(
            facts.authors,
            (Contact("Terry", "terry@example.org"), Contact("Graham", "graham@example.org")),
        )
        self.assertEqual(facts.maintainers, (Contact("The kitchen"),))
        self.assertEqual(facts.licence, "MIT OR Apache-2.0")
        self.assertEqual(
            facts.licences, (("MIT License", "License :: OSI Approved :: MIT License"),)
        )
        self.assertEqual(facts.keywords, ("breakfast", "canned meat"))
        python, typing = facts.kinds
        self.assertEqual(python.name, "Programming Language")
        self.assertEqual([short for short, _ in python.each], ["Python :: 3", "Python :: 3.13"])
        self.assertEqual(typing, ClassifierKind("Typing", (("Typed", "Typing :: Typed"),)))
        self.assertEqual(
            facts.links, (ProjectLink("Source Code", "https://example.org/spam", "example.org"),)
        )
        self.assertEqual(
            (facts.description.strip(), facts.content_type), ("# Spam", "text/markdown")
        )
        self.assertEqual(facts.needs.count, 1)

    def test_many(self) -> None:
        """Of each there are so many, however many there were."""
        facts = said(
            ("Keywords", ",".join(f"word{number}" for number in range(500))),
            *[("Classifier", f"Topic :: {number}") for number in range(500)],
            *[
                ("Project-URL", f"Label {number}, https://example.org/{number}")
                for number in range(500)
            ],
        )
        self.assertEqual(
            (len(facts.keywords), len(facts.kinds[0].each)), (MOST_KEYWORDS, MOST_CLASSIFIERS)
        )
        self.assertEqual(len(facts.links), MOST_LINKS)

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


class PeopleTests(SynchronousTestCase):
    """Authors and maintainers."""

    def test_one(self) -> None:
        """A name and an address without one are one person's; an address alone is its own name."""
        self.assertEqual(
            people("Terry", "terry@example.org"), (Contact("Terry", "terry@example.org"),)
        )
        self.assertEqual(
            people(None, "terry@example.org"), (Contact("terry@example.org", "terry@example.org"),)
        )
        self.assertEqual(people("Terry", None), (Contact("Terry"),))

    def test_nested(self) -> None:
        """Comments in comments in an address exhaust nobody's stack: who wrote it stands there as
        it was written.
        """
        for odd in ("(" * 1990, "a <" * 600, '"(' * 900, "x: " * 600, "<@" * 900):
            facts = said(("Author-email", odd))
            self.assertLessEqual(len(facts.authors), 1, odd)

    def test_mail(self) -> None:
        """Only an address that can be one is a link, and nothing of it says more than to whom to
        write.
        """
        for address in (
            "terry",
            "t@localhost",
            "t@example.org?subject=x",
            "<b>@example.org",
            "t%0a@example.org",
        ):
            self.assertEqual(
                [person.mailto for person in people("Terry", f"T <{address}>") if person.mailto],
                [],
                address,
            )
        [person] = people(None, "a+b&c@example.org")
        self.assertEqual(person.mailto, "mailto:a%2Bb%26c@example.org")


class LinkTests(SynchronousTestCase):
    """Project URLs."""

    def test_order(self) -> None:
        """Well-known labels come first, in any spelling (PEP 753); the others as they were given;
        no address twice.
        """
        urls = {
            "Chat": "https://chat.example",
            "bug-tracker": "https://example.org/bugs",
            "What's New": "https://example.org/news",
            "Repository": "https://example.org/src",
            "Docs": "https://docs.example",
        }
        said = {
            "project_urls": urls,
            "home_page": "https://example.org",
            "download_url": "https://docs.example",
        }
        labels = [link.label for link in links(said)]
        self.assertEqual(
            labels, ["Homepage", "Docs", "Repository", "What's New", "bug-tracker", "Chat"]
        )

    def test_unsafe(self) -> None:
        """What leads nowhere safe is shown, and is no link."""
        for url in UNSAFE:
            self.assertIsNone(safe_url(url), url)
            [link] = links({"project_urls": {"Home": url}})
            self.assertIsNone(link.url)
        self.assertEqual(safe_url("HTTPS://example.org/x?y#z"), "HTTPS://example.org/x?y#z")


class TextTests(SynchronousTestCase):
    """Single lines."""
