"""The manual page, as `man` shows it."""

from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import ROOT, tool
from tests.live.processes import BIN, clean_environ, done, scratch


class ManualTests(SynchronousTestCase):
    def test_manual(self) -> None:
        """The page of the command line becomes a manual page, which `man` shows without a
        warning.
        """
        man = tool("man", "man-db")
        folder = Path(self.enterContext(scratch()))
        page = ROOT / "docs/reference/command-line.rst"
        (folder / "index.rst").write_text(page.read_text())
        (folder / "conf.py").write_text(
            f"import sys\nsys.path.append({str(ROOT / 'docs/_extensions')!r})\n"
            "extensions = ['commands']\n"
            "project = 'pypid'\ndefault_role = 'code'\nman_show_urls = False\n"
            "man_pages = [('index', 'pypid', 'a package index', ['the authors'], 1)]\n"
        )
        build = [BIN / "sphinx-build", "-b", "man", "-q", folder, folder / "out"]
        done(build, cwd=folder)
        command = [man, "--warnings=w", "-E", "UTF-8", "-Tutf8", "-l", folder / "out/pypid.1"]
        environ = clean_environ(MANWIDTH="100", MAN_KEEP_FORMATTING="", LC_ALL="C.UTF-8")
        shown = done(command, cwd=folder, environ=environ)
        self.assertNotIn("warning:", shown)
        for words in "pypid user create", "pypid project set-status":
            self.assertIn(words, shown)
