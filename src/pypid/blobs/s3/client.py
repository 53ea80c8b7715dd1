"""Requests to S3: credentials, bodies, retries, and the heads of objects.

One request to S3: signed again for each try, and retried where that helps, for a bounded
time.
"""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing, contextmanager
from datetime import timedelta
from hashlib import sha256
from typing import Any

import botocore.session
from attrs import evolve, field, frozen
from botocore.exceptions import BotoCoreError, ClientError
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.iweb import IAgent, IResponse

from pypid import __version__
from pypid.blobs.keys import pieces
from pypid.blobs.s3 import refusals
from pypid.blobs.s3.refusals import Remedy, S3Refusal, down, http_date, refusal
from pypid.blobs.s3.signatures import Address, Keys, Query, signed
from pypid.core.errors import CannotStart, Missing, StorageDown, StorageFull
from pypid.core.model import Blob
from pypid.core.tiering_rules import ARCHIVES
from pypid.flow import Blocking, BytesBody, FileBody, World, start
from pypid.flow.bodies import at_hand
from pypid.flow.coroutines import is_patient
from pypid.flow.derived import Flights
from pypid.http_client.connections import Fault
from pypid.http_client.request_body import Payload, exchange
from pypid.http_client.response_body import IncomingBody
from pypid.metrics.counts import S3, S3_SECONDS
from pypid.ports import Body

# The credentials for signing: from the configuration, or from botocore's chain.
#
# The chain (environment, shared files, web identity, container, instance) blocks: it reads files
# and sends requests to AWS's services by itself. So it runs in threads, at the start, and again in
# time before keys expire.

# botocore is not annotated
# mypy: allow-untyped-calls


EARLY = timedelta(minutes=15)
"""How long before their expiry new keys are fetched, while the old ones are still used. botocore's
chain does likewise.
"""
LATE = timedelta(minutes=2)
"""How long before their expiry keys are no longer used."""
PAUSE = timedelta(seconds=20)
"""How long to wait before trying again to fetch new keys, while the old ones are valid or the chain
has no others.
"""
_log = Logger()


class Credentials:
    """The keys for signing: the `fixed` ones, or those of botocore's standard chain, fetched when
    they are needed.
    """

    def __init__(
        self, world: World, session: Any = botocore.session.Session, *, fixed: Keys | None = None
    ) -> None:
        self._world = world
        self._session = session
        self._source: Any = None
        self._is_fixed = fixed is not None
        self.known = fixed
        """The current keys, as far as they are known without waiting."""
        self._fetched: float | None = None
        self._in_vain: float | None = None
        """When other keys than refused ones were last looked for in vain (seconds of the clock)."""
        self._flights: Flights[None, Keys] = Flights()

    async def current(self) -> Keys:
        """Return keys that stay valid for some time. Raises `StorageDown` if there are none."""
        keys = self.known
        if keys is None:
            return await self._fetch(fresh=False)
        now = self._world.now()
        if keys.expires is None or keys.expires - now > EARLY:
            return keys
        if keys.expires - now <= LATE:
            return await self._fetch(fresh=False)
        seconds, fetched = self._world.clock.seconds(), self._fetched
        if fetched is None or seconds - fetched >= PAUSE.total_seconds():
            self._fetched = seconds
            start(self._fetch(fresh=False)).addErrback(
                lambda _: None
            )  # already logged; the old ones are valid for a while
        return keys

    async def renewed(self, refused: Keys) -> Keys:
        """Return keys other than those, which the store refused; the same if there are no
        others.
        """
        if self._is_fixed:
            return refused
        if self.known is not None and self.known != refused:
            return self.known
        now, vain = self._world.clock.seconds(), self._in_vain
        if self.known is not None and vain is not None and now - vain < PAUSE.total_seconds():
            return self.known
        found = refused
        try:
            found = await self._fetch(fresh=True)
        finally:
            self._in_vain = now if found == refused else None
        return found

    async def _fetch(self, *, fresh: bool) -> Keys:
        return await self._flights.single(None, lambda: self._flight(fresh))

    async def _flight(self, fresh: bool) -> Keys:
        try:
            self.known = await self._world.blocking(self._resolve, fresh)
        finally:
            self._fetched = self._world.clock.seconds()
        return self.known

    def _resolve(self, fresh: bool) -> Keys:
        """Return the chain's keys. Blocks. botocore renews keys that are about to expire; `fresh`:
        run the whole chain again.
        """
        try:
            if self._source is None or fresh:
                self._source = self._session().get_credentials()
            if self._source is None:
                raise LookupError(
                    "the AWS chain has none: set access_key and secret_key, or see that it finds "
                    "some"
                )
            found = self._source.get_frozen_credentials()
            expires = getattr(self._source, "_expiry_time", None)
        except (
            BotoCoreError,
            ClientError,
            LookupError,
            OSError,
            RuntimeError,
            ValueError,
        ) as error:
            _log.error("No credentials for S3: {error}", error=error)
            raise StorageDown("its credentials cannot be had.") from error
        return Keys(found.access_key, found.secret_key, found.token, expires)


def credentials(
    access: str | None, secret: str | None, token: str | None, world: World
) -> Credentials:
    """Return the given credentials, else the chain's. Raises `CannotStart` if only half of them is
    given.
    """
    if access and secret:
        return Credentials(world, fixed=Keys(access, secret, token or None))
    if access or secret:
        raise CannotStart(
            "[storage] access_key and secret_key belong together: set both, or none for the "
            "standard AWS chain."
        )
    if token:
        raise CannotStart(
            "[storage] session_token belongs to access_key and secret_key, which are not set."
        )
    return Credentials(world)


TRIES = 6
"""Maximum number of tries of a request for which no client waits patiently (`flow.is_patient`)."""
LONGEST = 60.0
"""Seconds after which nothing is retried."""
LEAST_PATIENT_PAUSE = 1.0
"""Minimum number of seconds between two tries after the first `TRIES`."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.1, 5.0
SMALL = 1 << 16
"""Maximum size in bytes of a response that is not an object's or a listing's."""
SKEW = timedelta(minutes=4)
"""Clock difference below which the clock is not the cause: S3 refuses signatures that are 15
minutes off.
"""
EMPTY = sha256(b"").hexdigest()


@frozen
class S3Request:
    """A request. `operation` is S3's name for it; `digest` is the SHA-256 of the payload.

    `patience` is a factor of the usual time-out of the response.
    """

    operation: str
    method: str
    key: str = ""
    query: Query = ()
    headers: Mapping[str, str] = field(factory=dict)
    payload: Payload | None = None
    digest: bytes | None = None
    patience: float = 1.0

    @property
    def content_sha256(self) -> str:
        """The payload hash in the signature. It is always that of the bytes, so that S3 refuses any
        others, even without TLS.
        """
        return EMPTY if self.digest is None else self.digest.hex()


@frozen
class S3Response:
    """A success. `headers` by lower-case name. The caller closes `body`."""

    status: int
    headers: Mapping[str, str] = field(repr=False)
    body: IncomingBody = field(repr=False)


@frozen
class S3Result:
    """A success with its whole body. `headers` by lower-case name."""

    headers: Mapping[str, str] = field(repr=False)
    data: bytes = field(repr=False)


class S3Client:
    """Sends requests to the bucket at `address`. `timeout` is how long, in seconds, it may be
    silent.
    """

    def __init__(
        self,
        agent: IAgent,
        address: Address,
        credentials: Credentials,
        world: World,
        timeout: float,
    ) -> None:
        self.address = address
        self.credentials = credentials
        self.timeout = timeout
        self._agent = agent
        self._world = world
        self.ahead = timedelta()
        """How far the store's clock is known to be ahead of the local one."""

    async def ask(self, question: S3Request) -> S3Response:
        """Return the response, with its body still to be read. Raises `S3Refusal` and `Fault` once
        no retry helps.
        """
        tries = _Tries(self, self._world, question)
        while True:
            keys, ahead = await self.credentials.current(), self.ahead
            try:
                answer = await self._once(question, keys)
                if answer.status < 300:
                    return answer
                async with aclosing(answer.body) as body:
                    raise refusal(
                        question.operation, answer.status, answer.headers, await _taken(body, SMALL)
                    )
            except (S3Refusal, Fault) as problem:
                await tries.again(problem, keys, ahead)

    async def tell(self, question: S3Request, most: int = SMALL) -> S3Result:
        """Return the response with all of its body, at most `most` bytes. An error document with a
        status of 200 counts as an error. Raises what `ask` raises.
        """
        tries = _Tries(self, self._world, question)
        while True:
            keys, ahead = await self.credentials.current(), self.ahead
            try:
                answer = await self._once(question, keys)
                async with aclosing(answer.body) as body:
                    data = await _taken(body, most)
                if answer.status >= 300 or _is_error(data):
                    raise refusal(question.operation, answer.status, answer.headers, data)
                return S3Result(answer.headers, data)
            except (S3Refusal, Fault) as problem:
                await tries.again(problem, keys, ahead)

    async def _once(self, question: S3Request, keys: Keys) -> S3Response:
        url = self.address.url(question.key, question.query)
        headers = {**question.headers, "Host": self.address.host}
        at = self._world.now() + self.ahead
        proven = signed(
            keys, self.address.region, at, question.method, url, headers, question.content_sha256
        )
        proven["User-Agent"] = f"pypid/{__version__}"
        patience = self.timeout * question.patience
        clock = self._world.clock
        began, status = clock.seconds(), "none"
        try:
            response = await exchange(
                self._agent, clock, question.method, url, proven, question.payload, patience
            )
            status = str(response.code)
        finally:
            self._world.counts.add(S3, (question.operation, status))
            self._world.counts.observe(
                S3_SECONDS, (question.operation,), max(0.0, clock.seconds() - began)
            )
        return S3Response(
            response.code, _headers(response), IncomingBody(response, clock, patience)
        )

    def correct_clock(self, problem: S3Refusal, signed_ahead: timedelta) -> bool:
        """Correct the clock offset by a response that refuses the time of the signature. Return
        whether a new try is signed at another time.

        `signed_ahead` is the offset that the refused try was signed with: of several concurrent
        requests, the first response corrects the clock for all.
        """
        if problem.date is None:
            return False
        ahead = problem.date - self._world.now()
        if abs(ahead - self.ahead) < SKEW:
            return abs(signed_ahead - self.ahead) >= SKEW
        _log.warn(
            "The clock of S3 is {ahead:.0f} s ahead of the local clock: one of them is wrong",
            ahead=ahead.total_seconds(),
        )
        self.ahead = ahead
        return True

    async def explained(self, problem: S3Refusal) -> S3Refusal:
        """Return the refusal of a HEAD with its reason: request a listing, which is refused with a
        reason if keys or clock are at fault.
        """
        question = S3Request(
            "ListObjectsV2", "GET", query=(("list-type", "2"), ("prefix", ""), ("max-keys", "1"))
        )
        try:
            answer = await self._once(question, await self.credentials.current())
            async with aclosing(answer.body) as body:
                other = refusal(
                    question.operation, answer.status, answer.headers, await _taken(body, SMALL)
                )
        except (Fault, StorageDown):
            return problem
        if answer.status >= 300 and other.remedy in (Remedy.OTHER_KEYS, Remedy.OTHER_TIME):
            return evolve(problem, code=other.code)
        return problem

    def failed(self, problem: S3Refusal | Fault, question: S3Request) -> StorageDown | StorageFull:
        """Return the error to raise in the end; the log gets the cause."""
        _log.error(
            "{operation} in S3 failed: {problem}", operation=question.operation, problem=problem
        )
        return down(problem)

    @contextmanager
    def failing(self, question: S3Request) -> Iterator[None]:
        """Raise the error of `failed` for a refusal or fault in the block."""
        try:
            yield
        except (S3Refusal, Fault) as problem:
            raise self.failed(problem, question) from problem


class _Tries:
    """The retries of one request."""

    def __init__(self, asker: S3Client, world: World, question: S3Request) -> None:
        self._asker = asker
        self._world = world
        self._clock: IReactorTime = world.clock
        self._question = question
        self._began = self._clock.seconds()
        self._count = 0
        self._corrected = False
        self._renewed = False
        self.doubtful = False

    async def again(self, problem: S3Refusal | Fault, keys: Keys, ahead: timedelta) -> None:
        """Return when it is time to try again; raise the problem if that is useless."""
        self._count += 1
        if isinstance(problem, S3Refusal):
            problem = evolve(problem, doubtful=self.doubtful)
        helps = await self._helps(problem, keys, ahead)
        if not helps and isinstance(problem, S3Refusal) and problem.is_mute:
            problem = await self._asker.explained(problem)
        waited = self._clock.seconds() - self._began
        if not helps or waited > LONGEST or (self._count >= TRIES and not is_patient.get()):
            raise problem
        self.doubtful = self.doubtful or _may_be_done(problem)
        pause = self._pause(problem)
        _log.debug(
            "{operation} in S3: {problem} Try {count} follows in {pause:.2f} s",
            operation=self._question.operation,
            problem=problem,
            count=self._count + 1,
            pause=pause,
        )
        if pause:
            paused: Deferred[None] = deferLater(self._clock, pause)
            await paused

    async def _helps(self, problem: S3Refusal | Fault, keys: Keys, ahead: timedelta) -> bool:
        if isinstance(problem, Fault):
            return not problem.lasting
        if problem.remedy is Remedy.AGAIN:
            return True
        if (problem.remedy is Remedy.OTHER_TIME or problem.is_mute) and not self._corrected:
            self._corrected = True
            if self._asker.correct_clock(problem, ahead):
                return True
        if (problem.remedy is Remedy.OTHER_KEYS or problem.is_mute) and not self._renewed:
            self._renewed = True
            return await self._asker.credentials.renewed(keys) != keys
        return False

    def _pause(self, problem: S3Refusal | Fault) -> float:
        """Return the seconds to wait: exponential backoff with full jitter, so that requests
        refused together are not repeated together.
        """
        if isinstance(problem, S3Refusal) and problem.remedy is not Remedy.AGAIN:
            return 0.0
        longest = min(LONGEST_PAUSE, SHORTEST_PAUSE * 2.0**self._count)
        chance = int.from_bytes(self._world.random(4), "big") / 2**32
        asked_for = (
            min(problem.retry_after, LONGEST_PAUSE) if isinstance(problem, S3Refusal) else 0.0
        )
        least = LEAST_PATIENT_PAUSE if self._count >= TRIES else 0.0
        return max(asked_for, least, longest * chance)


def _may_be_done(problem: S3Refusal | Fault) -> bool:
    return (
        problem.connected
        if isinstance(problem, Fault)
        else problem.status >= 500 or problem.status == 200
    )


def _is_error(data: bytes) -> bool:
    """Return whether the body is an ``<Error>``: S3 may send a status of 200 before it knows the
    outcome.
    """
    if b"<Error" not in data:
        return False
    root = refusals.parsed(data)
    return root is None or refusals.local(root) == "Error"


def _headers(response: IResponse) -> Mapping[str, str]:
    return {
        name.decode("latin-1").lower(): values[0].decode("latin-1").strip()
        for name, values in response.headers.getAllRawHeaders()
    }


async def _taken(body: IncomingBody, most: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    async for piece in body:
        size += len(piece)
        if size > most:
            raise Fault(f"its answer is longer than {most} bytes.")
        pieces.append(piece)
    if body.may_be_cut:
        raise Fault("its answer does not say where it ends.")
    return b"".join(pieces)


# Payloads of requests to S3: bytes that can be sent twice, since a request may have to be
# repeated.
#
# A body can be read once. The bytes of a file are read from there again; everything else is
# collected into parts of some megabytes.

MEBI = 1 << 20
SINGLE = 64 * MEBI
"""Maximum size of a payload sent in one request, if it can be read again."""
FILE_PART = 16 * MEBI
HELD_PART = 8 * MEBI
"""Size of parts collected in memory: of one body, at most four are held at a time."""
MOST_PARTS = 10_000
SENT = 1 << 18
"""Bytes handed to the connection at a time. It must accept them within the time-out for silence."""
AT_ONCE = 1 << 16
"""Maximum size hashed on the reactor thread: the round trip to a thread takes longer."""


@frozen
class BytesPayload:
    """A payload of bytes in memory."""

    data: Sequence[bytes] = field(repr=False)

    @property
    def size(self) -> int:
        return sum(map(len, self.data))

    async def pieces(self) -> AsyncGenerator[bytes]:
        for data in self.data:
            for first in range(0, len(data), SENT):
                yield data[first : first + SENT] if len(data) > SENT else data

    def digest(self) -> bytes:
        """Return the SHA-256."""
        hashing = sha256()
        for data in self.data:
            hashing.update(data)
        return hashing.digest()


@frozen
class FilePayload:
    """The bytes `start` up to `stop` of an open file. Raises `EOFError` if the file is shorter."""

    file: Any = field(repr=False)
    start: int
    stop: int
    blocking: Blocking = field(repr=False)

    @property
    def size(self) -> int:
        return self.stop - self.start

    async def pieces(self) -> AsyncGenerator[bytes]:
        position = self.start
        while position < self.stop:
            piece = self._at_hand(position) or await self.blocking(self.at, position)
            position += len(piece)
            yield piece

    def _at_hand(self, position: int) -> bytes:
        return at_hand(self.file.fileno(), position, min(SENT, self.stop - position))

    def at(self, position: int) -> bytes:
        """Return the next bytes from there. Blocks. (Unlike seek and read, it is safe in several
        threads at once.)
        """
        piece = os.pread(self.file.fileno(), min(SENT, self.stop - position), position)
        if not piece:
            raise EOFError("the file is shorter than it was")
        return piece

    def digest(self) -> bytes:
        """Return the SHA-256. Blocks."""
        hashing = sha256()
        position = self.start
        while position < self.stop:
            piece = self.at(position)
            hashing.update(piece)
            position += len(piece)
        return hashing.digest()


NOTHING = BytesPayload(())


async def digest(payload: Payload, blocking: Blocking) -> bytes:
    """Return the SHA-256 of a payload."""
    if isinstance(payload, BytesPayload) and payload.size <= AT_ONCE:
        return payload.digest()
    assert isinstance(payload, BytesPayload | FilePayload)
    return await blocking(payload.digest)


async def parts_of(body: Body, blocking: Blocking) -> AsyncGenerator[Payload]:
    """Yield the body as parts for separate requests, at least one, which may be empty. All but the
    last have the same size.

    Raises `EOFError` if the body is not as long as announced, before the last part is yielded.
    Close it by hand.
    """
    match body:
        case BytesBody(data=data) if len(data) <= SINGLE:
            yield BytesPayload((data,))
        case FileBody(file=file, span=span) if _has_descriptor(file):
            size = span.stop - span.start
            for start, stop in _cuts(size, FILE_PART):
                yield FilePayload(file, span.start + start, span.start + stop, blocking)
        case BytesBody(data=data):
            for start, stop in _cuts(len(data), FILE_PART):
                yield BytesPayload((data[start:stop],))
        case _:
            async with aclosing(_collected(body)) as collected:
                async for part in collected:
                    yield part


def _has_descriptor(file: Any) -> bool:
    try:
        return isinstance(file.fileno(), int)
    except (OSError, AttributeError):
        return False


def _cuts(size: int, part: int) -> list[tuple[int, int]]:
    if size <= SINGLE:
        return [(0, size)]
    length = _part_size(size, part)
    return [(start, min(start + length, size)) for start in range(0, size, length)]


def _part_size(size: int | None, part: int) -> int:
    """Return the size of parts: larger if there would be too many; a whole number of mebibytes."""
    needed = -(-(size or 0) // MOST_PARTS)
    return max(part, -(-needed // MEBI) * MEBI)


async def _collected(body: Body) -> AsyncGenerator[BytesPayload]:
    length = _part_size(body.size, HELD_PART)
    held: list[bytes] = []
    missing = length
    async with aclosing(pieces(body)) as source:
        async for piece in source:
            rest = piece
            while len(rest) > missing:
                yield BytesPayload((*held, rest[:missing]))
                held, rest, missing = [], rest[missing:], length
            if not missing:  # only now is it certain that this part is not the last
                yield BytesPayload(tuple(held))
                held, missing = [], length
            held.append(rest)
            missing -= len(rest)
    yield BytesPayload(tuple(held))


# Whether an object exists, and its properties.

CLASS = "x-amz-storage-class"
"""Not sent for objects of the standard class."""
MARK = "x-amz-meta-pypid-write"
"""Metadata of each object: which write of pypid's created it. So a write that was repeated because
its response was lost is recognized.
"""


META = "x-amz-meta-"
"""What the header fields of user metadata begin with."""


@frozen
class ObjectHead:
    """The properties of an object. `mark` is "" if the store, or another program, set none.
    `metadata` is its user metadata without the mark.
    """

    blob: Blob
    mark: str
    metadata: Mapping[str, str] = field(factory=dict)


def seen(key: str, headers: Mapping[str, str]) -> ObjectHead:
    """Return the object's properties from the headers of a response. Raises `Fault` if one is
    missing that every S3 sends.
    """
    length = headers.get("content-length", "")
    modified = http_date(headers.get("last-modified", ""))
    etag = plain_etag(headers.get("etag", ""))
    if not length.isdigit() or modified is None or not etag:
        raise Fault("its answer lacks an object's length, date or ETag: this is no S3.")
    archived = headers.get(CLASS) in ARCHIVES
    metadata = {
        name.removeprefix(META): text
        for name, text in headers.items()
        if name.startswith(META) and name != MARK
    }
    return ObjectHead(
        Blob(key, int(length), modified, etag, archived), headers.get(MARK, ""), metadata
    )


def plain_etag(text: str) -> str:
    """Return the ETag without its quotes, which some stores omit in listings."""
    return text.strip().strip('"')


async def look(asker: S3Client, prefix: str, key: str) -> ObjectHead | None:
    """Return the object, or None if it certainly does not exist. Raises `StorageDown`."""
    found = await head(asker, prefix, key)
    if found is None:
        await must_be_there(asker)
    return found


async def head(asker: S3Client, prefix: str, key: str) -> ObjectHead | None:
    """Return the object; None if it does not exist, or its bucket does not, which a HEAD cannot
    tell: for callers whose next request does. Raises `StorageDown`.
    """
    question = S3Request("HeadObject", "HEAD", prefix + key)
    with asker.failing(question):
        try:
            return seen(key, (await asker.tell(question)).headers)
        except S3Refusal as problem:
            if problem.status != 404:
                raise
    return None


async def must_be_there(asker: S3Client) -> None:
    """Raise `StorageDown` unless the bucket exists: without it every object seems to be missing."""
    question = S3Request("HeadBucket", "HEAD")
    with asker.failing(question):
        try:
            await asker.tell(question)
        except S3Refusal as problem:
            if problem.status != 404:
                raise
            raise evolve(problem, code="NoSuchBucket") from None


async def absent(
    asker: S3Client, problem: S3Refusal | Fault, question: S3Request, key: str
) -> Missing | StorageDown:
    """Return the error to raise for a refused read: `Missing` if the object certainly does not
    exist.
    """
    if isinstance(problem, S3Refusal) and problem.status == 404:
        if problem.code in ("NoSuchKey", "NoSuchVersion"):
            return Missing(key)
        if problem.code != "NoSuchBucket":
            await must_be_there(asker)
            return Missing(key)
    found = asker.failed(problem, question)
    return found if isinstance(found, StorageDown) else StorageDown("it refuses the request.")
