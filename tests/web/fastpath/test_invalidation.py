"""What the fast path no longer says once it is not so any more: each kind of change by itself."""

from __future__ import annotations

from datetime import timedelta

from attrs import evolve

from pypid.core.accounts.rights import grants_of, parse_right
from pypid.core.permissions import AUTHENTICATED, EVERYONE, Principals, Rules
from pypid.web.fastpath.recorder import Recorder
from pypid.web.fastpath.response_cache import KnownClient
from pypid.web.http.request import Request
from tests.web.fastpath.test_fast_path import FastPathCase
from tests.web.full_app import HTML, SECRET, TOKEN, J, spelled

OPEN = Rules(write=Principals(users=frozenset({"alice"})))


class OthersTests(FastPathCase):
    """What is one's own is nobody else's."""

    rules = Rules(
        read=EVERYONE,
        write=OPEN.write,
        projects=grants_of(
            [parse_right("spam.user.alice", "rw"), parse_right("spam.user.bob", "r")]
        ),
    )

    def test_each(self) -> None:
        """Of whoever asks in other words only those see a hidden project who may, however often it
        was given to others.
        """
        self.have_wheel("eggs")
        whole = {}
        for user in ("alice", "bob", None, "ada"):
            for path, accept in (("/simple/spam/", J), ("/simple/spam/", HTML), ("/simple/", J)):
                for _ in range(3):
                    answer = self.pypid.get(path, accept, user=user)
                    whole[user, path, accept] = (
                        answer.status,
                        b"spam" in answer.body and answer.status == 200,
                    )
        for user, sees in (("alice", True), ("bob", True), (None, False), ("ada", True)):
            self.assertEqual(whole[user, "/simple/spam/", J], (200, True) if sees else (401, False))
            self.assertEqual(
                whole[user, "/simple/spam/", HTML], (200, True) if sees else (401, False)
            )
            self.assertEqual(whole[user, "/simple/", J], (200, sees))
        self.assertGreater(self.fast_path.answered, 10)


class ChangeTests(FastPathCase):
    """What there is."""

    def test_meanwhile(self) -> None:
        """A page that changes after it was made, and before it is learned, is not learned as it
        was.
        """
        changes = [lambda: self.have_wheel("spam", "2.0")]

        record = Recorder.record

        def later(recorder: Recorder, request: Request) -> None:
            while changes and request.dependencies is not None:
                changes.pop()()
            record(recorder, request)

        self.patch(Recorder, "record", later)
        self.assertFalse(self.is_known())
        self.assertFalse(self.is_known())
        self.assertTrue(self.is_known())
        self.assertEqual(len(self.pypid.page("spam")["files"]), 2)


class ProvenTests(FastPathCase):
    """For how long somebody is who they were."""

    rules = Rules(read=AUTHENTICATED, write=OPEN.write)

    def test_token(self) -> None:
        """A token is worth nothing at the moment in which it ends, though it was used a moment
        before.
        """
        mine = spelled("GET", "/simple/spam/", ("Accept", J), ("Authorization", f"Bearer {SECRET}"))
        until = self.pypid.world.now() + timedelta(seconds=60)
        self.pypid.papers.tokens[TOKEN.digest] = evolve(TOKEN, expires=until)
        self.learned(mine)
        self.pypid.clock.advance(59)
        self.assertTrue(self.is_known(mine))
        self.pypid.clock.advance(1)
        self.pypid.papers.tokens.clear()  # the accounts know it no longer
        self.assertFalse(self.is_known(mine))
        [known] = [
            each for each in self.fast_path.store._entries if isinstance(each, KnownClient)
        ] or [None]
        self.assertIsNone(known)
