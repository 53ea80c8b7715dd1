"""What the documents say of the program is what the program says of itself."""

import importlib
import os
import pkgutil
import re
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.core.errors import INTERNAL, PypidError
from pypid.web.app.errors import help_of
from tests.extensions import extension
from tests.support.configuration import parse

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

    def test_each_key_once(self) -> None:
        """Each section is on the page once, and each key has an anchor and its text there."""
        keys = extension("configuration_keys")
        sections = re.findall(r"^\.\. keys:: (.+)$", self.page.read_text(), re.MULTILINE)
        self.assertEqual(sorted(sections), sorted(keys.sections()))
        found = "".join(" ".join(keys.table(section).split()) for section in sections)
        anchors = re.findall(r"\.\. _(config-[\w-]+):", found)
        rows = [row for section in sections for row in keys.rows(section)]
        self.assertEqual((len(anchors), len(set(anchors))), (len(rows), len(rows)))
        self.assertEqual([row.key for row in rows if row.doc not in found], [])

    def test_examples_are_valid(self) -> None:
        """Each example of the page is a configuration without problems."""
        blocks = re.findall(r"code-block:: ini\n\n((?:   .*\n|\n)+)", self.page.read_text())
        self.assertGreater(len(blocks), 5)
        for block in blocks:
            text = "".join(line.removeprefix("   ") for line in block.splitlines(keepends=True))
            self.assertIsNotNone(parse(text, filename="example.ini"))


class TroubleshootingTests(SynchronousTestCase):
    """docs/operate/troubleshooting.rst."""

    def test_each_error_has_an_entry(self) -> None:
        """Each class of errors that clients can see has an anchor, alone or with others, before a
        heading with the status and a paragraph; and each anchor a class.
        """
        text = (DOCS / "operate/troubleshooting.rst").read_text()
        found = re.findall(r"^\.\. _(error-[a-z-]+):$", text, flags=re.MULTILINE)
        expected = {help_of(kind).partition("#")[2] for kind in client_errors()}
        self.assertGreater(len(expected), 20)
        self.assertEqual(sorted(found), sorted(expected))
        entries = re.split(r"(?:^\.\. _error-[a-z-]+:\n)+\n", text, flags=re.MULTILINE)[1:]
        for entry in entries:
            self.assertRegex(entry, r"\A\d{3}.*\n\"+\n\n[\w`]")


def client_errors() -> set[type[PypidError]]:
    """All classes of errors of the package that have a status for clients, but for their bases."""
    for module in pkgutil.walk_packages(pypid.__path__, "pypid."):
        if module.name == "pypid.cli.__main__":
            continue
        try:
            importlib.import_module(module.name)
        except ModuleNotFoundError as error:
            # python-ldap is compiled, and so may be missing on a machine of a developer
            if error.name != "ldap" or "CI" in os.environ:  # noqa: TID251
                raise
    found: set[type[PypidError]] = set()
    waiting: list[type[PypidError]] = [PypidError]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        if kind.http_status != INTERNAL and kind.__module__.startswith("pypid."):
            found.add(kind)
    return found


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

    def test_levels_are_small(self) -> None:
        """A table of contents has at most 8 entries."""
        for path in DOCS.rglob("*.rst"):
            for entries in re.findall(r"\.\. toctree::\n((?:   .*\n|\n)+)", path.read_text()):
                pages = [line for line in entries.split() if not line.startswith(":")]
                self.assertLessEqual(len(pages) - entries.count("maxdepth"), 8, path)

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


class SourceLinkTests(SynchronousTestCase):
    """The pages that the program, its templates and the shipped files name."""

    def test_named_pages_exist(self) -> None:
        """Each ``docs/guides/s3``, with ``.html`` or ``.rst`` after it or without, is a page."""
        parts = "|".join(path.parent.name for path in DOCS.glob("*/index.rst"))
        page = re.compile(rf"\bdocs/((?:{parts})/[a-z0-9/-]*[a-z0-9])\b")
        root, found, missing = DOCS.parent, 0, []
        files = [*(root / "src/pypid").rglob("*"), *(root / "etc").rglob("*"), root / "Makefile"]
        for path in files:
            if (
                path.suffix in (".pyc", ".png")
                or not path.is_file()
                or "documentation" in path.parts
            ):
                continue
            for name in page.findall(path.read_text(errors="replace")):
                found += 1
                if not (DOCS / f"{name}.rst").exists() and not (DOCS / name).exists():
                    missing.append(f"{path.relative_to(root)}: {name}")
        self.assertGreater(found, 10)
        self.assertEqual(missing, [])
