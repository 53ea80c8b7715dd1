"""The same pypid with a fast path and without one, asked in the same words."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any

from twisted.internet.error import ConnectionDone

from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.blobs.signed_urls import Links
from pypid.core.accounts.rights import Session
from pypid.core.accounts.sessions import COOKIE, digest_of
from pypid.core.model import SignedUrl
from pypid.web.app.app import App
from pypid.web.app.rate_limit import AuthGeneration
from pypid.web.fastpath.channel import FastPath
from pypid.web.http.access_log import AccessLog, AccessLogEntry, Many
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from tests.web.full_app import TOKEN, Connection, Papers, Pypid, cheap_hashes
from tests.web.routes import ALL_ROUTES

KEY = bytes(range(32))
COOKIE_SECRET = "c" * 43
SESSION = (COOKIE, COOKIE_SECRET)
_DATE = re.compile(rb"\r\nDate: [^\r]*")
_NUMBER = re.compile(" · request [0-9a-f]+</p>".encode())
"""The id of a request, on the page of an error."""


class SignedBlobs:
    """Signs URLs for another storage, a new one each time."""

    def __init__(self, pypid: Pypid) -> None:
        self._pypid = pypid
        self.signed = 0

    async def link(self, key: str, lifetime: timedelta, filename: str) -> SignedUrl:
        """As `Blobs.link`."""
        self.signed += 1
        return SignedUrl(
            f"https://bucket.example/{key}?signature={self.signed}",
            self._pypid.world.now() + lifetime,
        )


def link_files(pypid: Pypid) -> None:
    """From now on clients are sent elsewhere for files, for an hour by each URL, of which the last
    ten minutes are not used.
    """
    links = Links(SignedBlobs(pypid), pypid.world, timedelta(hours=1), timedelta(minutes=10))  # type: ignore[arg-type]
    pypid.index.links = links
    object.__setattr__(pypid.index.reader, "links", links)


class Lines(AccessLog):
    """An access log that is a list of texts, without the ids."""

    def __init__(self, pypid: Pypid) -> None:
        super().__init__(pypid.world.now, pypid.clock.seconds)
        self.texts: list[str] = []

    def write(self, entry: AccessLogEntry) -> None:
        self.texts.append(_without_id(entry.text()))

    def many(self, answers: Any) -> None:
        self.texts += map(_without_id, Many(answers).texts())


def _without_id(line: str) -> str:
    return line.rpartition(" ")[0]


class Pair:
    """Two sites over one index: `hot` has a fast path, `cold` has none. Each counts wrong
    passwords for itself.
    """

    def __init__(self, pypid: Pypid, folder: Path) -> None:
        self.pypid = pypid
        self.folder = folder
        self.apps = [self._app() for _ in range(2)]
        self.lines = [Lines(pypid) for _ in range(2)]
        self.fast_path = FastPath(self.apps[0], self.lines[0])
        self.hot, self.cold = (
            Site(
                resource(app),
                reactor=pypid.clock,
                access_log=lines,
                fast_path=fast_path,
                hosts=HostPolicy(("*",)),
            )
            for app, lines, fast_path in zip(
                self.apps, self.lines, (self.fast_path, None), strict=True
            )
        )
        self.hot.startFactory()
        self.cold.startFactory()

    def _app(self) -> App:
        pypid = self.pypid
        verifier = Verifier(pypid.world)
        people = ConfigPeople(
            UsersSettings(users=cheap_hashes(), state=self.folder), pypid.world, verifier
        )
        digest = digest_of(COOKIE_SECRET, KEY)
        end = pypid.world.now() + timedelta(days=1)
        session = Session(digest=digest, user="bob", created=pypid.world.now(), expires=end)
        papers = Papers({TOKEN.digest: TOKEN}, {digest: session})
        chain = AccessChain(
            [Source(people)], papers, pypid.world, verifier, admins=["ada"], session_key=lambda: KEY
        )
        return App(
            pypid.index,
            chain,
            pypid.app.rules,
            pypid.world,
            pypid.app.settings,
            routes=ALL_ROUTES,
            auth_generation=AuthGeneration(chain.must_wait),
        )

    def connect(self) -> Both:
        """A connection to each."""
        return Both(self)


class Both:
    """A connection to each of a pair; what is sent to one is sent to the other, in
    the same pieces.
    """

    def __init__(self, pair: Pair) -> None:
        self._pair = pair
        self.hot, self.cold = Connection(pair.hot), Connection(pair.cold)
        self._came: dict[Connection, tuple[int, bytes]] = {self.hot: (0, b""), self.cold: (0, b"")}
        """How many bytes were looked at, and what is left of them without dates and ids."""

    def send(self, data: bytes) -> bool:
        """Send one piece; whether the fast path answered it."""
        before = self._pair.fast_path.answered
        self.hot.send(data)
        self.cold.send(data)
        return self._pair.fast_path.answered > before

    @property
    def sent(self) -> tuple[tuple[bytes, bool, bool], tuple[bytes, bool, bool]]:
        """What came of it, on each: all bytes but the dates and the ids of requests, and whether
        the connection is closed.
        """
        hot, cold = (
            (self._left(each), each.socket.disconnecting, each.socket.half_closed)
            for each in (self.hot, self.cold)
        )
        return hot, cold

    def _left(self, connection: Connection) -> bytes:
        whole = connection.socket.value()
        begin, left = self._came[
            connection
        ]  # a head comes at once: nothing to be left out is cut in two
        left += _NUMBER.sub(b"", _DATE.sub(b"", whole[begin:]))
        self._came[connection] = (len(whole), left)
        return left

    def lose(self) -> None:
        """The client goes away."""
        for each in (self.hot, self.cold):
            each.lose(ConnectionDone())
