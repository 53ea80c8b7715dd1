"""`pypid status`, `pypid reload` and the manual page, as an operator uses them."""

import json
import shutil
from pathlib import Path
from unittest import SkipTest

from twisted.trial.unittest import SynchronousTestCase

from tests.live.clients import ROOT, in_ci
from tests.live.processes import (
    BIN,
    clean_environ,
    configure,
    done,
    free_port,
    running,
    scratch,
)


class StatusTests(SynchronousTestCase):
    def test_status_and_reload(self) -> None:
        """Status is 3 before the start and after the stop, and 0 in between; a reload is done when
        the command ends, and a broken configuration makes it fail without effect.
        """
        folder = Path(self.enterContext(scratch()))
        port = free_port()
        ini = configure(folder, f"tcp:{port}:interface=127.0.0.1")
        status = [BIN / "pypid", "status", "--config", ini]
        said = done(status, cwd=folder, status=3)
        self.assertEqual(said, f"pypid is not running\nconfiguration: {ini}\n")
        self.assertFalse((folder / "state").exists())

        serve = [BIN / "pypid", "serve", "--config", ini]
        with running(serve, folder / "log", cwd=folder) as daemon:
            daemon.until_answers(f"http://127.0.0.1:{port}/ready")
            said = done(status, cwd=folder)
            self.assertIn("is running and ready\n", said)
            self.assertIn(f"http://127.0.0.1:{port}", said)
            self.assertIn(str(ini), said)
            answer = json.loads(done([*status, "--json"], cwd=folder))
            self.assertEqual((answer["running"], answer["ready"]), (True, True))
            self.assertEqual(answer["pid"], daemon.process.pid)

            good = ini.read_text()
            ini.write_text(f"{good}[log]\nlevel = debug\n")
            reload = [BIN / "pypid", "reload", "--config", ini]
            self.assertIn("were read again", done(reload, cwd=folder))
            level = done([BIN / "pypid", "log-level", "--config", ini], cwd=folder)
            self.assertEqual(level, "debug\n")
            daemon.stop_in_order()
        done(status, cwd=folder, status=3)

    def test_reload_refuses(self) -> None:
        """A configuration that cannot be read is reported by the command, with status 1, and
        changes nothing.
        """
        folder = Path(self.enterContext(scratch()))
        port = free_port()
        ini = configure(folder, f"tcp:{port}:interface=127.0.0.1")
        environ = clean_environ(PYPID_CONFIG=str(ini))
        broken = folder / "pypid.ini"
        with running(
            [BIN / "pypid", "serve"], folder / "log", cwd=folder, environ=environ
        ) as daemon:
            daemon.until_answers(f"http://127.0.0.1:{port}/ready")
            good = broken.read_text()
            broken.write_text(f"{good}[usrs]\n")
            # the command reads the file as well, to find the control socket
            said = done([BIN / "pypid", "reload"], cwd=folder, environ=environ, status=1)
            self.assertIn("unknown section", said)
            broken.write_text(good)
            said = done([BIN / "pypid", "status"], cwd=folder, environ=environ)
            self.assertIn("is running and ready", said)
            daemon.stop_in_order()


class ManualTests(SynchronousTestCase):
    def test_manual(self) -> None:
        """The page of the command line becomes a manual page, which `man` shows without a
        warning.
        """
        man = shutil.which("man")
        if man is None:
            if in_ci():
                raise AssertionError("man is missing: apt install man-db")
            raise SkipTest("man: not on this machine (apt install man-db)")
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
