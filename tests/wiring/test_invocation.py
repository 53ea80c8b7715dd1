"""Commands as they are printed: with the program, the configuration and the variable that they
need.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from pypid.wiring.invocation import Invocation, invocation, program_name
from pypid.wiring.platform import find_config, load_config


class ProgramTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.program = self.folder / "bin/pypid"
        self.program.parent.mkdir(parents=True)
        for name in ("pypid", "twistd"):
            self.program.with_name(name).touch(0o755)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)

    def name(self, started: str | Path, path: str | Path = "/nothing") -> str:
        return program_name(str(started), {"PATH": str(path)})

    def test_program(self) -> None:
        """Its name where the shell finds it, also by a link; else the path from here, or whole."""
        self.assertEqual(self.name(self.program, self.program.parent), "pypid")
        self.assertEqual(self.name(self.program), "bin/pypid")
        self.assertEqual(self.name("bin/twistd"), "bin/pypid")
        links = self.folder / "links"
        links.mkdir()
        (links / "pypid").symlink_to(self.program)
        self.assertEqual(self.name(self.program, links), "pypid")
        os.chdir(self.program.parent)
        self.assertEqual(self.name(self.program), "./pypid")
        os.chdir("/")
        (self.folder / "bin").rename(self.folder / "two words")
        program = self.folder / "two words/pypid"
        self.assertEqual(self.name(program), f"'{str(program)[1:]}'")
        os.chdir(links)
        self.assertEqual(self.name(program), f"'{program}'")

    def test_another_program(self) -> None:
        """Another pypid on the path is not this one; a program without one beside it is called by
        its name.
        """
        other = self.folder / "other/pypid"
        other.parent.mkdir()
        other.touch(0o755)
        self.assertEqual(self.name(self.program, other.parent), "bin/pypid")
        self.assertEqual(self.name("/usr/lib/python3/unittest/__main__.py"), "pypid")


class ConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).resolve()
        self.folder.mkdir(mode=0o700)
        before = Path.cwd()
        self.addCleanup(os.chdir, before)
        os.chdir(self.folder)
        self.patch(sys, "argv", ["pypid"])
        self.environ = {"HOME": str(self.folder), "PATH": "/nothing"}
        self.patch(os, "environ", self.environ)

    def found(self, option: str | None = None) -> Invocation:
        """The words for the configuration that this environment finds."""
        config = load_config(Path(find_config(option).file))
        return invocation(config, self.environ)

    def test_option(self) -> None:
        """--config stands in a command only if another configuration would be found without it."""
        Path("pypid.ini").touch()
        Path("other.ini").touch()
        here = self.folder
        self.assertEqual(self.found(), Invocation(folder=here))
        self.assertEqual(self.found("pypid.ini"), Invocation(folder=here))
        self.assertEqual(self.found("other.ini"), Invocation("pypid", " --config other.ini", here))
        whole = str(here / "other.ini")
        self.assertEqual(self.found(whole), Invocation("pypid", f" --config {whole}"))
        self.assertEqual(
            self.found("other.ini").command("user list"), "pypid user list --config other.ini"
        )
        self.environ["PYPID_CONFIG"] = "other.ini"
        self.assertEqual(self.found().option, " --config other.ini")

    def test_state_folder(self) -> None:
        """The variable that names the state folder stands before a command that needs it."""
        self.assertEqual(self.found(), Invocation())
        self.environ["STATE_DIRECTORY"] = f"{self.folder}/state"
        expected = Invocation(f"STATE_DIRECTORY={self.folder}/state pypid")
        self.assertEqual(self.found(), expected)
        Path("pypid.ini").touch()
        self.assertEqual(self.found(), evolve(expected, folder=self.folder))
        Path("pypid.ini").write_text("[server]\nstate = state\n")
        self.assertEqual(self.found(), Invocation(folder=self.folder))
