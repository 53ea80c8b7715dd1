"""The `status` and `reload` commands: what they print, and their exit statuses."""

from __future__ import annotations

import json

from attrs import evolve

from pypid import __version__
from pypid.cli import request
from pypid.core.errors import StorageDown
from pypid.flow.conditions import Condition
from pypid.flow.derived import ReloadOutcome
from tests.cli.commands import CommandCase


class StatusTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        self.pypid.app.settings = evolve(
            self.pypid.app.settings,
            configuration_name="/etc/pypid/pypid.ini",
            address="https://index.example",
        )

    def test_running(self) -> None:
        """The status of a running server is 0, with the version, the address, the parts and the
        configuration.
        """
        status, out, err = self.run_command("status")
        self.assertEqual((status, err), (0, ""))
        for line in (
            f"pypid {__version__} is running and ready",
            "address:        https://index.example",
            "configuration:  /etc/pypid/pypid.ini",
            "accounts:       OK",
            "catalog:        OK",
            "storage:        OK",
        ):
            self.assertIn(f"{line}\n", out)
        self.assertRegex(out, r"(?m)^uptime: +\d+ days, \d+ hours? \(since 2026-01-01 00:00 UTC\)$")
        self.assertRegex(out, r"(?m)^process: +\d+$")

    def test_a_part_fails(self) -> None:
        """A part that fails makes the status 1, and is named."""
        self.pypid.app.condition = Condition(storage=lambda: False)
        status, out, _ = self.run_command("status")
        self.assertEqual(status, 1)
        self.assertIn("is running and not ready\n", out)
        self.assertIn("storage:        unreachable\n", out)

    def test_starting(self) -> None:
        """A server that has not read its accounts yet is starting; nothing has to be done."""
        self.pypid.app.closed = StorageDown("the accounts are still being fetched from it.")
        self.pypid.catalog.following.replica.complete = False
        status, out, _ = self.run_command("status")
        self.assertEqual(status, 1)
        self.assertIn("is starting and not ready\n", out)
        self.assertIn("accounts:       not read yet\n", out)
        self.assertIn("storage scan:   waiting: pypid starts it on its own\n", out)
        self.assertNotIn("unreachable", out)

    def test_not_running(self) -> None:
        """The status is 3 if no server runs, which is no error."""

        def exchange(*_: object) -> None:
            raise request.NotRunning("pypid is not running.")

        self.patch(request, "exchange", exchange)
        status, out, err = self.run_command("status -c x.ini")
        self.assertEqual((status, err), (3, ""))
        self.assertEqual(out, "pypid is not running\nconfiguration: x.ini\n")
        status, out, _ = self.run_command("status -c x.ini --json")
        self.assertEqual((status, json.loads(out)["running"]), (3, False))
        status, _, _ = self.run_command("reload")
        self.assertEqual(status, "pypid: pypid is not running.")


class ReloadTests(CommandCase):
    def reloads(self, outcome: ReloadOutcome) -> None:
        """Have the server answer a reload so."""

        async def reload() -> ReloadOutcome:
            return outcome

        self.pypid.app.reload = reload

    def test_problem(self) -> None:
        """What could not be read is on standard error, and the status is 1."""
        self.reloads(ReloadOutcome(("x.ini:1: unknown section",)))
        self.assertEqual(self.run_command("reload"), (1, "", "pypid: x.ini:1: unknown section\n"))

    def test_by_a_client(self) -> None:
        """A client on the network cannot request a reload."""
        answer = self.pypid.api("POST", "/api/reload", user="ada")
        self.assertEqual(answer.status, 400)
        self.assertIn("run `pypid reload` there", answer.text)
