"""The `token` command: what it does and prints."""

from __future__ import annotations

import json

from tests.cli.commands import CommandCase

MAKE = "token create --user alice --can publish --can read --project acme-* --expires 30d"


class TokenTests(CommandCase):
    def test_life(self) -> None:
        """A token is made for somebody, its secret printed once; it works, is listed with its last
        use, and is revoked.
        """
        out = self.prints(MAKE, "CI of acme")
        first, second, _ = out.splitlines()
        id, _, rest = first.partition(": ")
        self.assertEqual(
            rest, "usable, CI of acme, of alice, read publish in acme-*, expires 2026-01-31 00:00"
        )
        secret = second.removeprefix("secret: ")
        self.assertTrue(secret.startswith("pypi-"))
        self.assertEqual(
            self.pypid.get("/api/me", None, ("Authorization", f"Bearer {secret}")).status, 200
        )
        listed = self.prints("token list --user alice")
        self.assertIn("192.0.2.7", listed)
        self.assertNotIn(secret, listed)
        self.assertTrue(listed.endswith("1 token\n"))
        self.assertIn("revoked", self.prints(f"token delete {id}"))
        self.assertEqual(
            self.pypid.get("/api/me", None, ("Authorization", f"Bearer {secret}")).status, 401
        )
        [token] = json.loads(self.prints("token list --json"))["tokens"]
        self.assertEqual((token["id"], token["state"]), (id, "revoked"))

    def test_refused(self) -> None:
        """For nobody, for what there is not, or for what the user may not, there is none."""
        self.assertIn(
            "No user can log in",
            self.run_command("token create x --user nobody-at-all --can read")[0],
        )
        self.assertEqual(self.run_command("token create x --user alice --can fly")[0], 2)
        self.assertEqual(self.run_command("token create x --can read")[0], 2)
        self.assertIn(
            "'bob' may not publish", self.run_command("token create x --user bob --can publish")[0]
        )
        self.assertIn("no token", self.run_command("token delete nothing")[0])
