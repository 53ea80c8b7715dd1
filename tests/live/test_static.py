"""`pypid export` of a list beside the real dumb-pypi: the same list makes the same links at the same places;
pip and uv go by them.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urljoin

from twisted.trial.unittest import SynchronousTestCase

from pypid.core.errors import BadName
from pypid.core.packaging.names import project_name
from tests.live.clients import client

PYPID = Path(sys.executable).with_name("pypid")
HASH = "0123456789abcdef" * 4
POOL = "https://files.example.com/pool"
ODD = """
spam-1.0-py3-none-any.whl spam-1.0.tar.gz spam-1.00.tar.gz spam-2.0b1.tar.gz spam-1.0-1.tar.gz python-dateutil-2.8.tar.gz
foo-bar-1.tar.gz foo.tar.gz foo-1.0.tgz foo-1.0.zip foo-1.0.tar.bz2 foo-1.0.tar.xz foo-1.0-py2.7.egg Foo.Bar_Baz-3.0.tar.gz
foo__x-1.0-py3-none-any.whl foo-1.0+local.1-py3-none-any.whl foo-1.0-2-py3-none-any.whl _foo-1.0.tar.gz a..b-1.0.tar.gz
../../etc/passwd-1.0.tar.gz noext spam-dev.tar.gz spam-2.0.exe spam-2.0.win32-py2.7.exe spam-1.0.linux-x86_64.tar.gz
aspen-0.8-2.tar.gz kafka-python-1.0-alpha.tar.gz x-1.0.dev-r5.tar.gz json-1.0.tar.gz index.html-1.0.tar.gz foo-1.0.rpm
-1.0.tar.gz README.md packages.json spam-1.0.tar.gz.asc spam-1.0-py3-none-any.whl.metadata foo-1!2.0.tar.gz
""".split()  # noqa: SIM905
REASONS = (None, "", "bad", 'it <b>broke</b> & "hurt"', "später\u2028nie", "'; alert(1)//")


def odd_names(count: int) -> list[str]:
    """Names as people make them, and as nobody does: always the same."""
    chance = random.Random(20260801)
    words = [
        "spam",
        "Eggs",
        "foo.bar",
        "a_b",
        "py",
        "x86",
        "1",
        "22",
        "1.0",
        "0.9.1",
        "2.0b1",
        "1.0+ab",
        "py3",
        "none",
        "any",
    ]
    endings = [
        ".whl",
        ".whl",
        ".tar.gz",
        ".tar.gz",
        ".tgz",
        ".zip",
        ".tar.bz2",
        ".egg",
        ".exe",
        ".gz",
        "",
        ".deb",
    ]
    return [
        "-".join(chance.choices(words, k=chance.randint(1, 7))) + chance.choice(endings)
        for _ in range(count)
    ]


def entries(filenames: list[str]) -> list[dict[str, Any]]:
    """What a list in JSON says of them: sometimes much, sometimes nothing."""
    chance = random.Random(9)
    return [
        {
            "filename": filename,
            "hash": chance.choice(
                [None, f"sha256={HASH}", f"md5={HASH[:32]}", f"sha512={HASH}{HASH}"]
            ),
            "requires_python": chance.choice([None, ">=3.8", "<4,>=3.6", "!=3.0.*,>2"]),
            "requires_dist": chance.choice([None, [], ["eggs>1; python_version<'3'"]]),
            "upload_timestamp": chance.choice([None, 0, 1512539924, 1700000000]),
            "uploaded_by": chance.choice([None, "alice", "<i>bob</i>"]),
            "yanked_reason": chance.choice(REASONS),
            "core_metadata": chance.choice([None, "true", f"sha256={HASH}"]),
        }
        for filename in dict.fromkeys(filenames)
    ]


class _Reader(HTMLParser):
    def __init__(self, page: str) -> None:
        super().__init__()
        self.page = page
        self.links: list[tuple[str, str, dict[str, str]]] = []
        self._link: dict[str, str] | None = None
        self._text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "a" and dict(attrs).get("href"):
            self._link, self._text = {name: value or "" for name, value in attrs}, ""

    def handle_data(self, data: str) -> None:
        self._text += data

    def handle_endtag(self, tag: str) -> None:
        if tag == "a" and self._link is not None:
            href = unquote(urljoin(f"https://index/{self.page}", self._link.pop("href")))
            data = {name: value for name, value in self._link.items() if name.startswith("data-")}
            self.links.append(
                (href, self._text.strip().partition("\n")[0].split(" (latest")[0], data)
            )
            self._link = None


def links(folder: Path) -> dict[str, list[tuple[str, str, dict[str, str]]]]:
    """Each page's links: where they lead, their texts, and what they say in data-attributes."""
    found = {}
    for path in sorted(folder.rglob("*.html")):
        reader = _Reader(str(path.relative_to(folder)))
        reader.feed(path.read_text())
        found[reader.page] = reader.links
    return found


class BesideDumbPypi(SynchronousTestCase):
    """The same list for both."""

    def run_both(self, option: str, text: str, *more: str, url: str = POOL) -> tuple[Path, Path]:
        """Their folder and ours."""
        folder = Path(self.mktemp())
        folder.mkdir()
        (folder / "list").write_text(text)
        for name, command in (("theirs", [client("dumb-pypi")]), ("ours", [PYPID, "export"])):
            common = [
                option,
                folder / "list",
                "--packages-url",
                url,
                "--output-dir",
                folder / name,
                *more,
            ]
            done = subprocess.run([*command, *common], capture_output=True, text=True, check=False)
            self.assertEqual(done.returncode, 0, done.stderr)
        return folder / "theirs", folder / "ours"

    def compare(self, theirs: Path, ours: Path) -> int:
        """How many links they have, each of which we have, too, at the same place and saying the
        same.
        """
        have, want, count = links(ours), links(theirs), 0
        nobodys = {
            page
            for page in want
            if page.count("/") == 2 and not self.is_a_project(page.split("/")[1])
        }
        left_out = {text for page in nobodys for _, text, _ in want[page]}
        for page in want.keys() - nobodys - {page for page in want if "changelog" in page}:
            self.assertIn(page, have)
            there = {(href, text): data for href, text, data in have[page]}
            for href, text, data in want[page]:
                if text in left_out or href.removeprefix("https://index/") in nobodys:
                    continue
                self.assertIn((href, text), there, page)
                for name, value in data.items():
                    self.assertEqual(there[href, text].get(name), value.strip(), (page, href))
                self.assertEqual(
                    set(there[href, text]) & {"data-yanked", "data-core-metadata"},
                    set(data) & {"data-yanked", "data-core-metadata"},
                )
                count += 1
        return count

    def is_a_project(self, name: str) -> bool:
        try:
            project_name(name)
        except BadName:
            return False
        return True

    def test_names(self) -> None:
        """Of odd names and usual ones, each link of dumb-pypi is where it was; names that no
        project can have are left out.
        """
        without_tgz = [name for name in [*ODD, *odd_names(1500)] if not name.endswith(".tgz")]
        theirs, ours = self.run_both("--package-list", "\n".join(without_tgz), url="../../pool/")
        self.assertGreater(self.compare(theirs, ours), 500)

    def test_values(self) -> None:
        """What a list in JSON says is said in the same words: hashes, Pythons, metadata, yanks,
        times, people.
        """
        listed = entries([name for name in [*ODD, *odd_names(1500)] if not name.endswith(".tgz")])
        theirs, ours = self.run_both(
            "--package-list-json", "\n".join(map(json.dumps, listed)), "--no-generate-timestamp"
        )
        self.assertGreater(self.compare(theirs, ours), 500)
