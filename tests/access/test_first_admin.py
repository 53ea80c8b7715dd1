from __future__ import annotations

import json
import os
import shlex
import stat
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from pypid.access.config import (
    AdminRecord,
    first_run,
    greeting,
    read_admin,
    readable_password,
    replace_admin,
)
from pypid.access.passwords import PasswordVerdict, verify
from pypid.core.errors import Unreadable

NOW = datetime(2026, 1, 1, tzinfo=UTC)
STARTS = """
import os, sys
from datetime import UTC, datetime
from pathlib import Path
from pypid.access.config import first_run
sys.stdin.read()
print(first_run(Path(sys.argv[1]), (), os.urandom, datetime.now(UTC)) or "")
"""


class FirstRunTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.state = Path(self.mktemp()) / "state"
        self.record = self.state / "admin.json"

    def test_makes_admin(self) -> None:
        """A first run makes admin; only the hash is stored, for nobody else to read; the password
        logs in.
        """
        password = first_run(self.state, (), os.urandom, NOW)
        assert password is not None
        kept = json.loads(self.record.read_bytes())
        self.assertEqual((kept["format"], kept["user"]), (1, "admin"))
        self.assertIs(verify(kept["hash"], password), PasswordVerdict.RIGHT)
        self.assertNotIn(password, self.record.read_text())
        self.assertEqual(stat.S_IMODE(self.record.stat().st_mode), 0o600)
        self.assertEqual(stat.S_IMODE(self.state.stat().st_mode), 0o700)
        self.assertEqual([path.name for path in self.state.iterdir()], ["admin.json"])
        self.assertNotIn(kept["hash"], repr(read_admin(self.state)))

    def test_once(self) -> None:
        """A second run makes nothing, and leaves the record as it is."""
        first_run(self.state, (), os.urandom, NOW)
        before = self.record.read_bytes()
        self.assertIsNone(first_run(self.state, (), os.urandom, NOW))
        self.assertEqual(self.record.read_bytes(), before)

    def test_with_users(self) -> None:
        """Where the configuration has users, nothing is made."""
        self.assertIsNone(first_run(self.state, {"alice": "hash"}, os.urandom, NOW))
        self.assertFalse(self.state.exists())

    def test_deleted(self) -> None:
        """Deleting the record and starting again gives a new password."""
        one = first_run(self.state, (), os.urandom, NOW)
        self.record.unlink()
        two = first_run(self.state, (), os.urandom, NOW)
        self.assertTrue(two and one != two)

    def test_damaged(self) -> None:
        """A torn, empty, foreign or newer record is refused with what to do, never replaced, and
        not quoted.
        """
        self.state.mkdir(parents=True)
        for data in (
            b"",
            b"{",
            b"[]",
            b"null",
            b"\xff",
            b'{"format":1,"user":"admin"}',
            b'{"format":2,"user":"a","hash":"Xyzzy"}',
            b'"Xyzzy"',
        ):
            self.record.write_bytes(data)
            error = self.assertRaises(Unreadable, first_run, self.state, (), os.urandom, NOW)
            self.assertIn("Delete it and start", str(error))
            self.assertNotIn("Xyzzy", str(error) + repr(error.__cause__))
            self.assertEqual(self.record.read_bytes(), data)
        self.record.unlink()
        self.record.mkdir()
        self.assertRaises(Unreadable, read_admin, self.state)

    def test_race(self) -> None:
        """Of processes that start at once, one makes the admin and knows the password."""
        started = [
            subprocess.Popen(
                [sys.executable, "-c", STARTS, str(self.state)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(3)
        ]
        for process in started:
            assert process.stdin is not None
            process.stdin.close()
        outs = []
        for process in started:
            assert process.stdout is not None
            with process.stdout:
                outs.append(process.stdout.read().strip())
            self.assertEqual(process.wait(), 0)
        passwords = [out for out in outs if out]
        record = read_admin(self.state)
        assert record is not None
        self.assertEqual(len(passwords), 1, outs)
        self.assertIs(verify(record.hash, passwords[0]), PasswordVerdict.RIGHT)
        self.assertEqual([path.name for path in self.state.iterdir()], ["admin.json"])

    def test_lost_race(self) -> None:
        """Who finds the record made between looking and writing gives up, with and without hard
        links.
        """

        def meanwhile(count: int) -> bytes:
            self.state.mkdir(parents=True, exist_ok=True)
            self.record.write_text("another's")
            return os.urandom(count)

        def no_links(*args: object) -> None:
            raise PermissionError("no hard links here")

        self.assertIsNone(first_run(self.state, (), meanwhile, NOW))
        self.record.unlink()
        self.patch(os, "link", no_links)
        self.assertIsNone(first_run(self.state, (), meanwhile, NOW))
        self.assertEqual(self.record.read_text(), "another's")
        self.record.unlink()
        self.assertTrue(first_run(self.state, (), os.urandom, NOW))
        self.assertEqual(stat.S_IMODE(self.record.stat().st_mode), 0o600)
        self.assertEqual([path.name for path in self.state.iterdir()], ["admin.json"])

    def test_upgrade(self) -> None:
        """An upgrade replaces the record that it was made for, and no other, and does not bring a
        deleted one back.
        """
        first_run(self.state, (), os.urandom, NOW)
        old = read_admin(self.state)
        assert old is not None
        wanted = AdminRecord(1, "admin", "new", used=True)
        new = replace_admin(self.state, old, wanted)
        self.assertEqual(new, wanted)
        self.assertEqual(read_admin(self.state), new)
        self.assertEqual(stat.S_IMODE(self.record.stat().st_mode), 0o600)
        self.assertEqual(replace_admin(self.state, old, old), new)
        self.record.unlink()
        self.assertIsNone(replace_admin(self.state, old, old))
        self.assertEqual([path.name for path in self.state.iterdir()], [])


class GreetingTests(SynchronousTestCase):
    @settings(max_examples=50, deadline=None, database=None)
    @given(st.binary(min_size=32, max_size=32))
    def test_password(self, chance: bytes) -> None:
        """The password has 28 characters that nobody mistakes for others, in groups; a shell and a
        URL take it as it is.
        """
        password = readable_password(lambda count: chance)
        self.assertRegex(password, r"\A([a-hjkmnp-z2-9]{4}-){6}[a-hjkmnp-z2-9]{4}\Z")
        self.assertEqual(shlex.quote(password), password)

    def commands(self, text: str) -> list[str]:
        return [line.strip() for line in text.splitlines() if line.startswith("    ")][2:]

    def test_commands(self) -> None:
        """It shows whole commands for uv, twine and pip; they take a token from an environment
        variable. pip trusts this computer as it is.
        """
        for base in (
            "http://localhost:6543",
            "http://127.0.0.1:6543/",
            "http://[::1]:6543",
            "https://index.acme.com",
        ):
            text = greeting(
                base, "abcd-efgh", Path("/var/lib/pypid"), program="bin/pypid", option=" -c {x}.ini"
            )
            token = "bin/pypid token create publish --user admin --can publish --quiet -c {x}.ini"
            url = base.rstrip("/")
            self.assertEqual(
                self.commands(text),
                [
                    f"export UV_PUBLISH_TOKEN=$({token})",
                    f"uv publish --publish-url {url}/legacy/ dist/*",
                    "export TWINE_USERNAME=__token__ TWINE_PASSWORD=$UV_PUBLISH_TOKEN",
                    f"twine upload --repository-url {url}/legacy/ dist/*",
                    f"uv pip install --default-index {url}/simple/ PROJECT",
                    f"pip install --index-url {url}/simple/ PROJECT",
                    "bin/pypid user create alice -c {x}.ini",
                ],
            )
            self.assertIn("/var/lib/pypid/admin.json", text)
            self.assertIn(f"with a browser: {url}/\n", text)
            self.assertEqual(text.count("abcd-efgh"), 1)
