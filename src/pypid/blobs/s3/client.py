"""One request to S3: signed again for each try, and retried where that helps, for a bounded
time.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import aclosing
from datetime import timedelta
from hashlib import sha256

from attrs import field, frozen
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.iweb import IAgent, IResponse

from pypid import __version__
from pypid.blobs.s3 import refusals
from pypid.blobs.s3.addresses import Address, Query
from pypid.blobs.s3.credentials import Credentials
from pypid.blobs.s3.refusals import Remedy, S3Refusal, down, refusal
from pypid.blobs.s3.signatures import Keys, signed
from pypid.core.errors import StorageDown, StorageFull
from pypid.flow import World
from pypid.flow.coroutines import is_patient
from pypid.http_client.faults import Fault
from pypid.http_client.request_body import Payload, exchange
from pypid.http_client.response_body import IncomingBody
from pypid.metrics.families import S3, S3_SECONDS

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
_log = Logger()


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
    """A success with its whole body. `doubtful`: an earlier try may have been carried out as
    well.
    """

    status: int
    headers: Mapping[str, str] = field(repr=False)
    data: bytes = field(repr=False)
    doubtful: bool = False


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
        self._ahead = timedelta()

    def there(self) -> timedelta:
        """Return how far the store's clock is known to be ahead of the local one."""
        return self._ahead

    async def ask(self, question: S3Request) -> S3Response:
        """Return the response, with its body still to be read. Raises `S3Refusal` and `Fault` once
        no retry helps.
        """
        tries = _Tries(self, self._world, question)
        while True:
            keys, ahead = await self.credentials.current(), self._ahead
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
            keys, ahead = await self.credentials.current(), self._ahead
            try:
                answer = await self._once(question, keys)
                async with aclosing(answer.body) as body:
                    data = await _taken(body, most)
                if answer.status >= 300 or _is_error(data):
                    raise refusal(question.operation, answer.status, answer.headers, data)
                return S3Result(answer.status, answer.headers, data, tries.doubtful)
            except (S3Refusal, Fault) as problem:
                await tries.again(problem, keys, ahead)

    async def _once(self, question: S3Request, keys: Keys) -> S3Response:
        url = self.address.url(question.key, question.query)
        headers = {**question.headers, "Host": self.address.host}
        at = self._world.now() + self._ahead
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
        if abs(ahead - self._ahead) < SKEW:
            return abs(signed_ahead - self._ahead) >= SKEW
        _log.warn(
            "The clock of S3 is {ahead:.0f} s ahead of the local clock: one of them is wrong",
            ahead=ahead.total_seconds(),
        )
        self._ahead = ahead
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
            return problem.but(code=other.code)
        return problem

    def failed(self, problem: S3Refusal | Fault, question: S3Request) -> StorageDown | StorageFull:
        """Return the error to raise in the end; the log gets the cause."""
        _log.error(
            "{operation} in S3 failed: {problem}", operation=question.operation, problem=problem
        )
        return down(problem)


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
            problem = problem.but(doubtful=self.doubtful)
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
