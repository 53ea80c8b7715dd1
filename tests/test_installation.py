"""The names of the distributions, and what texts say of installing them."""

import re
from collections.abc import Iterator
from importlib.metadata import metadata
from itertools import chain
from pathlib import Path
from unittest.mock import patch

from twisted.trial.unittest import SynchronousTestCase

import pypid
from pypid.core import installation
from pypid.core.installation import DISTRIBUTION, PYPICLOUD_DISTRIBUTION, install_hint

ROOT = Path(__file__).parents[1]
FOLDERS = ("src", "docs", "etc", "packages", "tests", "benchmarks")
TEXTS = (".py", ".rst", ".md", ".html", ".ini", ".conf", ".service", ".yaml", ".yml", ".json", "")

FROM_AN_INDEX = re.compile(
    r"""
    \b(?: pip3?\ +(?:install|download|wheel) | pipx\ +(?:install|run) | uvx | poetry\ +add | pdm\ +add
      | uv\ +(?:add|tool\ +install|tool\ +run|pip\ +install) )
    (?: \ +[^\s`]+ )*? \ +['"]?
    pypid (?:[-_](?:server|pypicloud))? (?:\[[\w,]+\])? (?:[=<>~!]=?[\w.]+)? ['"`,;:)]* \.? (?=\s|$)
    |
    \bpypid (?:-server)? \[(?:all|attestations|collect|hashes|ldap|postgresql|redis|s3)[\],]
    """,
    re.VERBOSE,
)
"""A command that installs pypid by its name, or the name with an extra."""


def one_line(text: str) -> str:
    """Join the string literals, and the lines of a command, that a line break divides."""
    return re.sub(r"""["']\s*\n\s*\+?\s*f?["']|\\\n\s*""", "", text)


def texts() -> Iterator[tuple[Path, str]]:
    """Every text of the tree that is read or printed, but this module."""
    below = (path for folder in FOLDERS for path in (ROOT / folder).rglob("*"))
    for path in chain(below, ROOT.glob("*")):
        made = {"__pycache__", "goldens"} & set(path.parts) or ".egg-info" in str(path)
        if path.suffix in TEXTS and path.is_file() and path != Path(__file__) and not made:
            yield path, path.read_text(encoding="utf-8", errors="replace")


class TextTests(SynchronousTestCase):
    def test_no_text_installs_pypid_from_an_index(self) -> None:
        """While the distribution is not registered, no text names its installation from an index:
        anyone could register the name and be installed instead.
        """
        if installation.REGISTERED:
            return
        found = [
            f"{path.relative_to(ROOT)}: {match[0]}"
            for path, text in texts()
            for each in (text, one_line(text))
            for match in FROM_AN_INDEX.finditer(each)
        ]
        self.assertEqual(found, [])

    def test_the_search_finds_installations(self) -> None:
        """The expression finds each form of such a command, and leaves paths and prose alone."""
        for text in (
            "pip install pypid",
            "pip install 'pypid[s3]'",
            "pip install --upgrade pypid-server==1.0",
            'needs it: pip install "\n    "\'pypid[postgresql]\'."',
            "uv tool install pypid-server",
            "uvx pypid serve",
            "pipx run pypid-server",
            "(``pip install pypid``)",
            "part of ``pypid[all]``",
        ):
            self.assertIsNotNone(FROM_AN_INDEX.search(one_line(text)), text)
        for text in (
            "pip install './dist/pypid_server-1.0.0.dev0-py3-none-any.whl[s3]'",
            "/opt/pypid/bin/pip install --constraint constraints.txt '.[all]' ./packages/pypid-pypicloud",
            "``pip install --find-links`` is how pypid serves it",
            "pip install --index-url http://pypid.example/simple/ your-project",
            "podman run pypid",
        ):
            self.assertIsNone(FROM_AN_INDEX.search(one_line(text)), text)


class HintTests(SynchronousTestCase):
    def test_hint(self) -> None:
        """The hint names the wheel of this version and the checkout; after the registration it
        names the distribution.
        """
        self.assertEqual(
            install_hint("s3"),
            f"Install it from the wheel: pip install './pypid_server-{pypid.__version__}-py3-none-"
            "any.whl[s3]', or in a checkout: make run EXTRAS=s3.",
        )
        with patch.object(installation, "REGISTERED", True):
            self.assertEqual(install_hint("s3"), "Install it: pip install 'pypid-server[s3]'.")


class MetadataTests(SynchronousTestCase):
    def test_installed(self) -> None:
        """What is installed here has the names and the version of the source."""
        for name in DISTRIBUTION, PYPICLOUD_DISTRIBUTION:
            found = metadata(name)
            self.assertEqual(found["Version"], pypid.__version__)
            self.assertEqual(found["License-Expression"], "MIT")


class PageTests(SynchronousTestCase):
    """The pages on reporting, support and changes."""

    def test_no_address_is_invented(self) -> None:
        """The project has no public address, so no file names one."""
        word = "placeholder" + ".example"
        self.assertEqual([path for path, text in texts() if word in text], [])

    def test_changes(self) -> None:
        """Until 1.0 the change log has one section, which names this version and what left."""
        log = (ROOT / "CHANGES.rst").read_text()
        titles = re.findall(r"^(.+)\n-+$", log, re.MULTILINE)
        self.assertEqual(titles, [f"Before 1.0 ({pypid.__version__}, unreleased)"])
        sections = re.findall(r"^(.+)\n~+$", log, re.MULTILINE)
        self.assertEqual(sections[:2], ["What is there", "What left"])
