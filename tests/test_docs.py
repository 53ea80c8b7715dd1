"""What the documents say of the program is what the program says of itself."""

import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.core.configuration.parse import parse
from pypid.core.configuration.reference import configuration_rst, table

DOCS = Path(__file__).parent.parent / "docs"


class LayoutTests(SynchronousTestCase):
    """docs/project/layout.rst."""

    def test_packages_are_as_documented(self) -> None:
        """The packages of `pypid` are the ones that the page lists, and beside them is only
        ``ports``.
        """
        text = (DOCS / "project/layout.rst").read_text()
        listing = text[text.index("    cli ") : text.index("Tests mirror")]
        words = set(re.findall(r"(?:^    |\s{2,}|, )([a-z_]+)(?=\s|,|$)", listing, re.MULTILINE))
        package = Path(pypid.__file__).parent
        found = {path.parent.name for path in package.glob("*/__init__.py")}
        found |= {path.stem for path in package.glob("*.py")} - {"__init__"}
        self.assertEqual(found - words, set())
        self.assertLessEqual(len(found), 26)


class ConfigurationTests(SynchronousTestCase):
    """docs/reference/configuration.rst."""

    page = DOCS / "reference/configuration.rst"

    def test_in_step(self) -> None:
        """The page of the configuration is the one that the declared keys make (`make docs` writes
        it).
        """
        template = self.page.with_suffix(".rst.in").read_text()
        self.assertEqual(self.page.read_text(), configuration_rst(template))

    def test_each_key_once(self) -> None:
        """Each key of each section has one row, with an anchor, its default and its text."""
        text = " ".join(self.page.read_text().split())
        for row in table():
            anchor = f".. _config-{row.section.partition(':')[0]}-{row.key}: ``{row.key}``"
            self.assertEqual(text.count(anchor), 1, anchor)
            self.assertIn(row.doc, text)

    def test_examples_are_valid(self) -> None:
        """Each example of the page is a configuration without problems."""
        blocks = re.findall(r"code-block:: ini\n\n((?:   .*\n|\n)+)", self.page.read_text())
        self.assertGreater(len(blocks), 5)
        for block in blocks:
            text = "".join(line.removeprefix("   ") for line in block.splitlines(keepends=True))
            self.assertIsNotNone(parse(text, filename="example.ini"))


class PageNameTests(SynchronousTestCase):
    """Names of pages."""

    def test_no_page_is_called_as_a_page_of_sphinx(self) -> None:
        """Sphinx writes its own search, genindex and py-modindex over pages of these names."""
        names = {"search", "genindex", "modindex", "py-modindex", "opensearch"}
        found = [path for path in DOCS.rglob("*.rst") if path.stem in names]
        self.assertEqual(found, [])

    def test_no_page_has_its_own_table_of_contents(self) -> None:
        """The theme has one beside each page, and prints an error in place of a second one."""
        found = [path for path in DOCS.rglob("*.rst") if ".. contents::" in path.read_text()]
        self.assertEqual(found, [])

    def test_no_page_is_an_orphan(self) -> None:
        """Each page is in a table of contents; a page that declares itself an orphan has no place
        in the navigation.
        """
        found = [path for path in DOCS.rglob("*.rst") if re.match(r"\s*:orphan:", path.read_text())]
        self.assertEqual(found, [])


class ReadmeTests(SynchronousTestCase):
    """README.rst."""

    text = (DOCS.parent / "README.rst").read_text()

    def test_short(self) -> None:
        """It has at most 100 lines."""
        self.assertLessEqual(len(self.text.splitlines()), 100)

    def test_names_existing_files(self) -> None:
        """The files that it names and links exist."""
        names = re.findall(r"<([\w./-]+)>`_|``(docs/[\w./-]*)``|image:: (\S+)", self.text)
        found = {"".join(each) for each in names}
        self.assertGreater(len(found), 5)
        self.assertEqual([name for name in found if not (DOCS.parent / name).exists()], [])
