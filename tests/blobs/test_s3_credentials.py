"""Whose keys sign, and until when."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from unittest.mock import patch

from attrs import define
from botocore.credentials import ReadOnlyCredentials
from botocore.exceptions import ClientError
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from pypid.blobs.s3 import client
from pypid.blobs.s3.client import EARLY, LATE, PAUSE, Credentials
from pypid.blobs.s3.signatures import Keys
from pypid.core.errors import CannotStart, StorageDown
from pypid.flow import BytesBody, start
from tests.blobs.bucket import ACCESS, SECRET, error
from tests.blobs.fake_s3 import says
from tests.blobs.s3_cases import S3Case
from tests.support import BEGINNING, Turns, world


@define
class Source:
    """What botocore's chain might find: keys that are numbered, each good for `lasting`."""

    clock: Clock
    lasting: timedelta | None
    resolved: int = 0
    fetched: int = 0
    down: bool = False
    _expiry_time: datetime | None = None

    def get_credentials(self) -> Source:
        """As a session of botocore's."""
        self.resolved += 1
        return self

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """As credentials of botocore's."""
        if self.down:
            raise OSError("no way")
        self.fetched += 1
        if self.lasting is not None:
            self._expiry_time = BEGINNING + timedelta(seconds=self.clock.seconds()) + self.lasting
        return ReadOnlyCredentials(f"key-{self.fetched}", "secret", "token", None)


class ChainTests(SynchronousTestCase):
    """Keys that end."""

    def setUp(self) -> None:
        super().setUp()
        self.clock = Clock()
        self.turns = Turns()
        self.source = Source(self.clock, timedelta(hours=1))
        self.chain = Credentials(world(self.clock, self.turns), lambda: self.source)

    def keys(self) -> str:
        """Which keys sign now, without waiting."""
        return self.successResultOf(start(self.chain.current())).access

    def first(self) -> None:
        """Fetch the first ones."""
        waiting = [start(self.chain.current()) for _ in range(3)]
        self.assertEqual(len(self.turns), 1)
        self.turns.all()
        self.assertEqual({self.successResultOf(result).access for result in waiting}, {"key-1"})

    def test_once(self) -> None:
        """Keys are fetched once, in a thread, for all who wait; then nothing blocks or waits."""
        self.first()
        self.clock.advance(600)
        self.assertEqual((self.keys(), len(self.turns)), ("key-1", 0))

    def test_in_time(self) -> None:
        """Before keys end others are fetched, while the old ones go on signing."""
        self.first()
        self.clock.advance((timedelta(hours=1) - EARLY).total_seconds() + 1)
        self.assertEqual((self.keys(), len(self.turns)), ("key-1", 1))
        self.turns.all()
        self.assertEqual((self.keys(), len(self.turns)), ("key-2", 0))

    def test_too_late(self) -> None:
        """Keys that are about to end sign nothing more."""
        self.first()
        self.clock.advance((timedelta(hours=1) - LATE).total_seconds() + 1)
        waiting = start(self.chain.current())
        self.assertNoResult(waiting)
        self.turns.all()
        self.assertEqual(self.successResultOf(waiting).access, "key-2")

    def test_nobody_answers(self) -> None:
        """While others cannot be had the old ones sign to their end, and it is not tried all the
        time; then it is an error.
        """
        self.first()
        self.source.down = True
        self.clock.advance((timedelta(hours=1) - EARLY).total_seconds() + 1)
        for _ in range(5):
            self.assertEqual(self.keys(), "key-1")
            self.assertEqual(len(self.turns), 1)
        self.turns.all()
        self.assertEqual((self.keys(), len(self.turns)), ("key-1", 0))
        self.clock.advance(EARLY.total_seconds())
        waiting = start(self.chain.current())
        self.turns.all()
        self.failureResultOf(waiting, StorageDown)

    def test_short_lived(self) -> None:
        """Keys that last less than we would like are not fetched again with every request."""
        self.source.lasting = timedelta(minutes=10)
        self.first()
        for _ in range(100):
            self.clock.advance(0.1)
            self.assertEqual((self.keys(), len(self.turns)), ("key-1", 0))

    def test_renewed(self) -> None:
        """Keys that the store refuses are looked for anew, from the beginning of the chain; not all
        the time.
        """
        self.source.lasting = None
        self.first()
        old = Keys("key-1", "secret", "token")
        self.clock.advance(60)
        waiting = [start(self.chain.renewed(old)) for _ in range(2)]
        self.turns.all()
        self.assertEqual({self.successResultOf(result).access for result in waiting}, {"key-2"})
        self.assertEqual(self.source.resolved, 2)
        self.assertEqual(self.successResultOf(start(self.chain.renewed(old))).access, "key-2")
        self.assertEqual(len(self.turns), 0)

    def test_keys_refused_right_after_they_were_fetched_are_renewed(self) -> None:
        """Keys that are refused seconds after they were fetched are looked for anew, unless that
        was just done in vain.
        """
        self.source.lasting = None
        self.first()
        self.clock.advance(1)
        waiting = start(self.chain.renewed(Keys("key-1", "secret", "token")))
        self.turns.all()
        second = self.successResultOf(waiting)
        self.assertEqual(second.access, "key-2")
        self.source.fetched = 1  # there are no others
        waiting = start(self.chain.renewed(second))
        self.turns.all()
        self.assertEqual(self.successResultOf(waiting), second)
        self.assertEqual(self.successResultOf(start(self.chain.renewed(second))), second)
        self.assertEqual(len(self.turns), 0)
        self.clock.advance(PAUSE.total_seconds())
        waiting = start(self.chain.renewed(second))
        self.turns.all()
        self.assertEqual(self.successResultOf(waiting).access, "key-3")

    def test_none(self) -> None:
        """Where the chain finds nothing, the log says what to do, and nothing is signed."""
        chain = Credentials(world(self.clock), lambda: _Nothing())
        self.failureResultOf(start(chain.current()), StorageDown)

    def test_refused(self) -> None:
        """Where AWS refuses a web identity or a role, that is a store that is down: it is tried
        again.
        """
        denied = ClientError(
            {"Error": {"Code": "AccessDenied", "Message": "no"}}, "AssumeRoleWithWebIdentity"
        )
        with patch.object(Source, "get_frozen_credentials", side_effect=denied):
            waiting = start(self.chain.current())
            self.turns.all()
            self.failureResultOf(waiting, StorageDown)

    def test_given(self) -> None:
        """Keys of the configuration are used as they are; half of them is refused."""
        given = client.credentials("access", "secret", "", world())
        self.assertEqual(given.known, Keys("access", "secret"))
        self.assertIsNone(client.credentials("", None, None, world()).known)
        for half in (("access", "", ""), ("", "secret", ""), (None, None, "token")):
            with self.assertRaises(CannotStart):
                client.credentials(*half, world())


class _Nothing:
    def get_credentials(self) -> None:
        return None


@contextmanager
def environment(**values: str) -> Iterator[None]:
    """These variables, and no other of AWS's, nor its files."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("AWS_")}  # noqa: TID251
    nowhere = {
        "AWS_CONFIG_FILE": "/nowhere",
        "AWS_SHARED_CREDENTIALS_FILE": "/nowhere",
        "AWS_EC2_METADATA_DISABLED": "true",
    }
    with patch.dict(os.environ, {**kept, **nowhere, **values}, clear=True):  # noqa: TID251
        yield


class RealChainTests(SynchronousTestCase):
    """botocore's own chain."""

    def found(self, **values: str) -> Any:
        """The keys in that environment."""
        with environment(**values):
            return self.successResultOf(start(Credentials(world()).current()))

    def test_environment(self) -> None:
        """Keys, token and their end come from the environment."""
        end = datetime.now(UTC) + timedelta(hours=2)  # noqa: TID251
        keys = self.found(
            AWS_ACCESS_KEY_ID="access",
            AWS_SECRET_ACCESS_KEY="secret",
            AWS_SESSION_TOKEN="token",
            AWS_CREDENTIAL_EXPIRATION=end.isoformat(),
        )
        self.assertEqual(
            (keys.access, keys.secret, keys.token, keys.expires), ("access", "secret", "token", end)
        )

    def test_files(self) -> None:
        """Keys come from the shared file, of the profile that is named, and from a program that it
        names.
        """
        file, config = Path(self.mktemp()).absolute(), Path(self.mktemp()).absolute()
        file.write_text("[work]\naws_access_key_id = access\naws_secret_access_key = secret\n")
        keys = self.found(AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_PROFILE="work")
        self.assertEqual((keys.access, keys.token, keys.expires), ("access", None, None))
        answer = config.with_suffix(".json")
        end = "2099-01-01T00:00:00+00:00"
        said = {
            "Version": 1,
            "AccessKeyId": "a",
            "SecretAccessKey": "s",
            "SessionToken": "t",
            "Expiration": end,
        }
        answer.write_text(json.dumps(said))
        config.write_text(f"[profile program]\ncredential_process = cat {answer}\n")
        keys = self.found(AWS_CONFIG_FILE=str(config), AWS_PROFILE="program")
        self.assertEqual(
            (keys.access, keys.token, keys.expires), ("a", "t", datetime.fromisoformat(end))
        )

    def test_nothing(self) -> None:
        """Without any of that there are none."""
        with environment():
            self.failureResultOf(start(Credentials(world()).current()), StorageDown)

    def test_broken_files(self) -> None:
        """A file that cannot be read is an error of ours, not of botocore's."""
        file = Path(self.mktemp()).absolute()
        file.write_text("[work\nnonsense")
        with environment(AWS_SHARED_CREDENTIALS_FILE=str(file), AWS_PROFILE="work"):
            self.failureResultOf(start(Credentials(world()).current()), StorageDown)


class ExpiryTests(S3Case):
    """Keys that end while they are used."""

    async def test_expired_mid_run(self) -> None:
        """When a store does not take a token any more others are fetched, and nobody notices; in
        the answer to a HEAD, too.
        """
        with environment(
            AWS_ACCESS_KEY_ID=ACCESS, AWS_SECRET_ACCESS_KEY=SECRET, AWS_SESSION_TOKEN="old"
        ):
            self.bucket.token = "old"
            self.blobs = await self.open(access_key=None, secret_key=None)
            await self.blobs.write("spam/x", BytesBody(b"bytes"))
        self.world.now  # noqa: B018
        for number, doing in enumerate(
            (lambda: self.get("spam/x"), lambda: self.blobs.stat("spam/x"))
        ):
            self.bucket.token = f"new-{number}"
            self.patch(client, "PAUSE", timedelta())  # a minute later
            with environment(
                AWS_ACCESS_KEY_ID=ACCESS,
                AWS_SECRET_ACCESS_KEY=SECRET,
                AWS_SESSION_TOKEN=f"new-{number}",
            ):
                await doing()

    async def test_expired_for_good(self) -> None:
        """When there are no others the store is down."""
        self.bucket.token = "never"
        problem = await self.fails(StorageDown, self.blobs.read("spam/x"))
        self.assertIn("credentials", str(problem))
        self.fake.script("GetObject", says(error("InvalidAccessKeyId", 403)))
        await self.fails(StorageDown, self.blobs.read("spam/x"))

    async def test_links_end_with_their_keys(self) -> None:
        """A link ends with the keys that signed it."""
        end = datetime.now(UTC) + timedelta(hours=2)  # noqa: TID251
        given = {
            "AWS_ACCESS_KEY_ID": ACCESS,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            "AWS_CREDENTIAL_EXPIRATION": end.isoformat(),
        }
        with environment(**given, AWS_SESSION_TOKEN="t"):
            self.began -= (end - timedelta(hours=2) - self.now()).total_seconds()
            blobs = await self.open(access_key=None, secret_key=None)
            link = await blobs.link("spam/x", timedelta(days=1))
        assert link is not None
        self.assertLessEqual(link.expires, end)
        self.assertGreater(link.expires, end - timedelta(seconds=5))
        self.assertIn("X-Amz-Security-Token=t", link.url)
