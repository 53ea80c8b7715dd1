from __future__ import annotations

from pathlib import Path
from secrets import token_bytes
from threading import Barrier, Thread

from twisted.trial.unittest import SynchronousTestCase

from pypid.access.sessions import RECORD, session_key
from pypid.core.errors import Unreadable


class KeyTests(SynchronousTestCase):
    """The key below `state`."""

    def setUp(self) -> None:
        """An empty folder that is not there yet."""
        self.state = Path(self.mktemp()) / "state"

    def kept(self) -> list[str]:
        """What lies in the folder."""
        return [path.name for path in self.state.iterdir()]

    def test_kept(self) -> None:
        """It is made once, for its owner's eyes only, and is the same ever after."""
        key = session_key(self.state, None, token_bytes)
        self.assertEqual(len(key), 32)
        self.assertEqual(session_key(self.state, None, token_bytes), key)
        self.assertEqual((self.state / RECORD).stat().st_mode & 0o777, 0o600)
        self.assertEqual(self.kept(), [RECORD])
        (self.state / RECORD).unlink()
        self.assertNotEqual(session_key(self.state, None, token_bytes), key)

    def test_secret(self) -> None:
        """With a secret it comes out of that, the same on each node, and no file is made."""
        one, other = (session_key(self.state, secret, token_bytes) for secret in ("one", "other"))
        self.assertEqual(one, session_key(Path("elsewhere"), "one", token_bytes))
        self.assertEqual((len(one), one == other), (32, False))
        self.assertNotIn(b"one", one)
        self.assertFalse(self.state.exists())

    def test_race(self) -> None:
        """Of many that make it at once all get the same one."""
        found: list[bytes] = []
        gate = Barrier(8)

        def late(size: int) -> bytes:
            gate.wait(5)  # everybody has seen that there is none
            return token_bytes(size)

        makers = [
            Thread(target=lambda: found.append(session_key(self.state, None, late)))
            for _ in range(8)
        ]
        for maker in makers:
            maker.start()
        for maker in makers:
            maker.join(10)
        self.assertEqual((len(found), len(set(found))), (8, 1))
        self.assertEqual(self.kept(), [RECORD])

    def test_damaged(self) -> None:
        """A file that holds no key is refused, with advice and without what is in it."""
        session_key(self.state, None, token_bytes)
        for data in (b"", b"Xyzzy", b"Xyzzy" * 100):
            (self.state / RECORD).write_bytes(data)
            error = self.assertRaises(Unreadable, session_key, self.state, None, token_bytes)
            self.assertIn("Delete it", str(error))
            self.assertNotIn("Xyzzy", str(error) + repr(error))
