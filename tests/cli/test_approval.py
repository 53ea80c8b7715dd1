"""approval: what it does and prints."""

from __future__ import annotations

from pathlib import Path

from pypid.core.configuration.choices import Mode, NewProjects
from pypid.core.policy import Policy
from tests.cli.commands import CommandCase
from tests.distributions import wheel, wheel_filename
from tests.web.app_with_accounts import Peopled
from tests.web.full_app import J, Pypid
from tests.web.memory_upstream import Elsewhere


class ApprovalCommandTests(CommandCase):
    """``reqeusts`` is upstream's, in two releases."""

    def setUp(self) -> None:
        super().setUp()
        upstream = Elsewhere()
        for version in ("1.0", "2.0"):
            data = wheel("reqeusts", version, files={"reqeusts/x.so": version.encode()})
            upstream.has("reqeusts", wheel_filename("reqeusts", version), data)
        self.pypid = Pypid(
            Path(self.mktemp()),
            policy=Policy(mode=Mode.CACHE, new_projects=NewProjects.ASK),
            upstream=upstream,
        )
        self.people = Peopled(self.pypid, Path(self.mktemp()))

    def test_life(self) -> None:
        """A project is requested, looked at, approved in part, and denied."""
        self.assertEqual(
            self.prints("approval list"), "0 projects waiting for approval\n0 decisions\n"
        )
        self.pypid.get("/simple/reqeusts/", accept=J, user="bob")
        listed = self.prints("approval list").splitlines()
        self.assertEqual(listed[0].split(), ["PROJECT", "SINCE", "(UTC)", "REQUESTS", "BY"])
        self.assertEqual(listed[1].split()[0], "reqeusts")
        self.assertEqual(listed[1].split()[-2:], ["1", "bob"])
        shown = self.prints("approval show reqeusts")
        self.assertIn("Upstream: 2 releases, 2 files, first upload 2026-01-01 00:00", shown)
        self.assertIn("Similar name: requests (differs by one character", shown)
        self.assertIn("native code: 1 (reqeusts/x.so)", shown)
        self.assertEqual(
            self.prints("approval approve reqeusts==1.0").partition(" (id ")[0],
            "reqeusts==1.0: approved",
        )
        shown = self.prints("approval show reqeusts")
        self.assertIn("no request waits", shown)
        self.assertIn("Changes from 1.0 (last approved) to 2.0:", shown)
        self.assertRegex(shown, r"(?m)^  changed: .*reqeusts/x\.so")
        out = self.prints("approval deny reqeusts --reason typo")
        self.assertEqual(out, "reqeusts: denied (id reqeusts)\n")
        self.assertIn("typo", self.prints("approval list"))
        self.assertEqual(self.prints("approval delete reqeusts"), "reqeusts: deleted\n")

    def test_refused(self) -> None:
        """What cannot be is refused with the reason."""
        self.assertIn("no decision or request", self.run_command("approval delete nothing")[0])
        self.assertIn("not a version specifier", self.run_command("approval approve a>>1")[0])
        self.assertEqual(self.run_command("approval approve")[0], 2)
