"""A whole pypid in memory: the real site, routes, index and access over memory, at the end of a
wire that takes raw bytes.

What is not real: the clock stands, threads are calls, the storage is a dict. Incoming files do go
to a folder on disk.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import cache
from itertools import count
from pathlib import Path
from typing import Any, TypeVar, cast

from argon2 import PasswordHasher
from attrs import define, field, frozen
from twisted.internet.address import IPv4Address
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress
from twisted.internet.task import Clock
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from pypid.access import passwords
from pypid.access.chain import AccessChain, Source
from pypid.access.config import ConfigPeople, UsersSettings
from pypid.access.passwords import Verifier
from pypid.access.tokens import new_token
from pypid.attestations.verification import Attesting
from pypid.blobs.keys import pieces
from pypid.blobs.memory import MemoryBlobs
from pypid.catalog.shared import SharedCatalog
from pypid.core.accounts.rights import Session, Token
from pypid.core.errors import PypidError, StorageDown
from pypid.core.indexes import IndexSettings
from pypid.core.model import Blob, Span
from pypid.core.permissions import AUTHENTICATED, Action, Principals, Rules, Scope
from pypid.core.policy import Policy
from pypid.core.trust import TrustDocument, TrustRules
from pypid.flow import BytesBody, start
from pypid.flow.spool import sweep
from pypid.index.decisions import Decisions
from pypid.index.named_indexes import Indexes
from pypid.index.promotions import PromotionRecovery
from pypid.index.trust import PublisherTrust
from pypid.index.upstream.approvals import UpstreamDecisions
from pypid.ports import Body, Duplicating, Upstream
from pypid.upstream.nothing import Nothing
from pypid.web.app.app import App, AppSettings
from pypid.web.app.rate_limit import AuthGeneration
from pypid.web.app.visibility import NoNamedIndexes
from pypid.web.http.access_log import AccessLog
from pypid.web.http.connections import HostPolicy
from pypid.web.http.site import Site
from pypid.web.root import resource
from pypid.wiring.recipe import promotions_between
from tests.distributions import sdist, sdist_filename, wheel, wheel_filename
from tests.index.uploads import an_index
from tests.support.engines import a_catalog
from tests.support.worlds import BEGINNING, WallClock, world
from tests.web.openapi_check import hold
from tests.web.raw_http import Socket
from tests.web.routes import ALL_ROUTES

T = TypeVar("T")

HOST = "index.example"
J = "application/vnd.pypi.simple.v1+json"
H = "application/vnd.pypi.simple.v1+html"
HTML = "text/html; charset=utf-8"

SECRET, TOKEN = new_token(
    lambda size: b"\xfb" * size,
    name="CI",
    user="alice",
    scope=Scope(frozenset({Action.READ, Action.WRITE, Action.FETCH})),
    now=BEGINNING,
)
"""A token of alice's."""

PASSWORDS = {
    "ada": "pa:ss wörd",
    "alice": "alice's",
    "bob": "bob's",
    "__token__": SECRET,
}
"""Everybody's: ada is an admin, alice and her token may publish, bob may do what everybody may who
logs in.
"""

RULES = Rules(write=Principals(users=frozenset({"alice"})))
PRIVATE = Rules(read=AUTHENTICATED, write=RULES.write)


CHEAP = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
CHEAP_NOBODYS = "$argon2id$v=19$m=8,t=1,p=1$" + "A" * 22 + "$" + "A" * 43


@cache
def cheap_hashes() -> Mapping[str, str]:
    """argon2id hashes of `PASSWORDS` that cost nothing."""
    return {
        user: CHEAP.hash(password) for user, password in PASSWORDS.items() if user != "__token__"
    }


def basic(user: str, password: str | None = None, encoding: str = "utf-8") -> tuple[str, str]:
    """The header by which `user` logs in."""
    pair = f"{user}:{PASSWORDS[user] if password is None else password}"
    return ("Authorization", "Basic " + b64encode(pair.encode(encoding)).decode())


@define
class Papers:
    """Tokens and sessions."""

    tokens: dict[str, Token] = field(factory=dict)
    sessions: dict[str, Session] = field(factory=dict)
    """By digest."""
    used: list[tuple[str, str]] = field(factory=list)
    """The ids of tokens, and the addresses they were used from."""

    async def token(self, digest: str) -> Token | None:
        """As `Accounts.token`."""
        return self.tokens.get(digest)

    def token_used(self, id: str, address: str) -> None:
        """As `Accounts.token_used`."""
        self.used.append((id, address))

    async def session(self, digest: str) -> Session | None:
        """As `Accounts.session`."""
        return self.sessions.get(digest)


@frozen
class Answer:
    """One response, taken off the wire."""

    status: int
    reason: str
    head: tuple[tuple[str, str], ...]
    body: bytes

    def __getitem__(self, name: str) -> str | None:
        """The value of a header; None where there is none. One that came twice is an error."""
        values = [value for key, value in self.head if key.lower() == name.lower()]
        assert len(values) < 2, (name, values)
        return values[0] if values else None

    @property
    def text(self) -> str:
        """The body, which is UTF-8."""
        return self.body.decode()

    @property
    def json(self) -> Any:
        """The body, which is JSON."""
        return json.loads(self.body)


class Fragile(MemoryBlobs):
    """A storage that can be made to fail."""

    away: StorageDown | None = None
    """What every call raises from now on."""
    failing: Callable[[str], PypidError | None] = staticmethod(lambda key: None)
    """What a write to a key raises, after it has taken the first piece; None: it goes well."""

    def there(self) -> None:
        """Raise if it is away."""
        if self.away is not None:
            raise self.away

    async def read(self, key: str, span: Span | None = None) -> Body:
        self.there()
        return await super().read(key, span)

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        error = self.away or self.failing(key)
        if error is not None:
            async with aclosing(body), aclosing(pieces(body)) as source:
                await anext(source, None)
            raise error
        return await super().write(key, body, replace=replace)

    async def delete(self, key: str) -> None:
        self.there()
        await super().delete(key)

    async def stat(self, key: str) -> Blob:
        self.there()
        return await super().stat(key)

    async def list(self, prefix: str = "") -> AsyncGenerator[Blob]:
        self.there()
        async with aclosing(super().list(prefix)) as listing:
            async for blob in listing:
                yield blob


class Connection:
    """One connection to the site."""

    def __init__(
        self, site: Site, local: IAddress | None = None, peer: IAddress | None = None
    ) -> None:
        self.socket = Socket(
            peerAddress=peer or IPv4Address("TCP", "192.0.2.7", 4711), hostAddress=local
        )
        self.channel = site.buildProtocol(None)
        self.channel.makeConnection(self.socket)
        self.taken = 0

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        if not self.socket.disconnecting:
            self.channel.dataReceived(data)

    def answer(self, method: str = "GET") -> Answer | None:
        """The next final response to a request of this method; None where it has not come, or not
        whole.
        """
        while True:
            rest = bytes(self.socket.value())[self.taken :]
            head, separator, body = rest.partition(b"\r\n\r\n")
            if not separator:
                return None
            first, *lines = head.decode("latin-1").split("\r\n")
            _, status, *reason = first.split(" ", 2)
            self.taken += len(head) + 4
            if int(status) >= 200:
                break
        fields = tuple(
            (key, value.strip()) for key, _, value in (line.partition(":") for line in lines)
        )
        answer = Answer(int(status), reason[0] if reason else "", fields, b"")
        length = (
            0
            if method == "HEAD" or answer.status in (204, 304)
            else int(answer["content-length"] or -1)
        )
        assert length >= 0, f"an answer without a length: {answer}"
        if len(body) < length:
            return None
        self.taken += length
        return Answer(answer.status, answer.reason, fields, body[:length])

    def rest(self) -> bytes:
        """What came after the answers that were taken."""
        return bytes(self.socket.value())[self.taken :]

    def lose(self, why: BaseException) -> None:
        """The client goes away."""
        self.channel.connectionLost(Failure(why))


Headers = Iterable[tuple[str, str]]


class Pypid:
    """A pypid: what it is made of is in its attributes, `ask` is a client."""

    def __init__(
        self,
        spool: Path,
        *,
        rules: Rules = RULES,
        blobs: Fragile | None = None,
        capacity: int | None = None,
        public_url: str | None = None,
        max_upload: int = 64 << 20,
        storage_folder: Path | None = None,
        trusted_root: Path | None = None,
        policy: Policy | None = None,
        upstream: Upstream | None = None,
        catalog: SharedCatalog | None = None,
        compared: bool | None = None,
        trust: TrustRules | None = None,
        indexes: Sequence[IndexSettings] | None = None,
    ) -> None:
        """`indexes` are configured, and its API makes others; None: it has no named indexes.
        `compared`: as if the catalog had been compared with the storage, which a new one need not
        be.
        """
        sweep(spool)
        self.clock = Clock()
        self.clock.advance(1.5)
        self.wall = WallClock(self.clock)
        self.world = world(self.clock, wall=self.wall)
        self.blobs = Fragile(self.world.now, capacity) if blobs is None else blobs
        self.catalog = a_catalog() if catalog is None else catalog
        if blobs is None if compared is None else compared:
            start(self.catalog.complete())
        policy = policy or Policy()
        decisions = Decisions(self.blobs, self.world, policy.restrictions)
        named = None
        if indexes is not None:
            named = Indexes(self.catalog, decisions, {each.name: each for each in indexes})
        self.index = an_index(
            self.blobs,
            self.catalog,
            upstream or Nothing(),
            policy,
            self.world,
            spool=spool,
            restrictions_read=decisions.ready,
            trust=PublisherTrust(
                trust or TrustRules(),
                Attesting(trusted_root).verdicts,
                self.world,
                policy.restrictions,
                decisions.folder("trust", TrustDocument),
            ),
            names_elsewhere=None if named is None else named.names,
            indexes=named,
        )
        promotions = None
        if named is not None:
            named.join(self.index, {})
            duplicating = cast(Duplicating, self.blobs)
            promotions = promotions_between(named, self.blobs, duplicating, PromotionRecovery())
        decided = UpstreamDecisions.of(decisions, policy, self.world)
        start(decisions.begin())
        verifier = Verifier(self.world)
        people = ConfigPeople(
            UsersSettings(users=cheap_hashes(), state=spool), self.world, verifier
        )
        self.papers = Papers({TOKEN.digest: TOKEN})
        self.access = AccessChain(
            [Source(people)], self.papers, self.world, verifier, admins=["ada"]
        )
        settings = AppSettings(
            spool=spool,
            max_upload=max_upload,
            public_url=public_url,
            storage_folder=storage_folder,
        )
        self.app = App(
            self.index,
            self.access,
            rules,
            self.world,
            settings,
            Attesting(trusted_root),
            routes=ALL_ROUTES,
            decisions=decisions,
            decided=decided,
            auth_generation=AuthGeneration(self.access.must_wait),
            indexes=named or NoNamedIndexes(),
            promotions=promotions,
        )
        self.log: list[str] = []
        """The access log's lines."""
        lines = AccessLog(lambda: self.world.now(), self.clock.seconds)
        self.site = Site(
            resource(self.app),
            reactor=self.clock,
            access_log=lambda request: self.log.append(lines.entry(request).text()),
            hosts=HostPolicy((HOST,)),
        )
        self.site.startFactory()

    def connect(self) -> Connection:
        """A new connection."""
        return Connection(self.site)

    @property
    def indexes(self) -> Indexes:
        """Its named indexes."""
        assert isinstance(self.app.indexes, Indexes)
        return self.app.indexes

    def configure(self, *settings: IndexSettings) -> None:
        """Replace the configured indexes, as a reload does."""
        self.indexes.configure({each.name: each for each in settings})

    def ask(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        user: str | None = None,
    ) -> Answer:
        """The answer to one request; `target` and header values go out as they are (Latin-1)."""
        answer = self.try_to_ask(method, target, *headers, body=body, user=user)
        assert answer is not None, f"no answer to {method} {target}"
        return answer

    def try_to_ask(
        self,
        method: str,
        target: str,
        *headers: tuple[str, str],
        body: bytes | None = None,
        user: str | None = None,
    ) -> Answer | None:
        """As `ask`, or None where no answer came."""
        connection = self.connect()
        connection.send(spelled(method, target, *headers, body=body, user=user))
        answer = connection.answer(method)
        if answer is not None:
            # else the clock would have thousands to time out, and the log of the tests a line for
            # each
            connection.lose(ConnectionDone())
            hold(method, target, answer.status, answer["Content-Type"], answer.body)
        return answer

    def get(
        self,
        target: str,
        accept: str | None = None,
        *headers: tuple[str, str],
        user: str | None = None,
    ) -> Answer:
        """The answer to a GET with this Accept."""
        asked = headers if accept is None else (("Accept", accept), *headers)
        return self.ask("GET", target, *asked, user=user)

    def api(
        self, method: str, path: str, document: object = None, *, user: str | None = "ada"
    ) -> Answer:
        """The answer to a request of the management API."""
        body = None if document is None else json.dumps(document).encode()
        return self.ask(method, path, ("Content-Type", "application/json"), body=body, user=user)

    def page(self, project: str, user: str | None = None) -> dict[str, Any]:
        """A project's page in JSON."""
        answer = self.get(f"/simple/{project}/", J, user=user)
        assert answer.status == 200, answer
        document: dict[str, Any] = answer.json
        return document

    def file_on(self, project: str, filename: str, user: str | None = None) -> dict[str, Any]:
        """What a project's page says of a file."""
        [file] = [
            file for file in self.page(project, user)["files"] if file["filename"] == filename
        ]
        found: dict[str, Any] = file
        return found

    def names(self, user: str | None = None) -> list[str]:
        """The names on the list of projects."""
        return [project["name"] for project in self.get("/simple/", J, user=user).json["projects"]]


def spelled(
    method: str,
    target: str,
    *headers: tuple[str, str],
    body: bytes | None = None,
    user: str | None = None,
) -> bytes:
    """The bytes of a request with a Host, and with a Content-Length if there is a `body`."""
    fields = [("Host", HOST), *([basic(user)] if user else []), *headers]
    if body is not None:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields), "", ""]
    return "\r\n".join(lines).encode("latin-1") + (body or b"")


_boundaries = count()

Part = tuple[str, "str | bytes"]
"""The rest of a part's Content-Disposition (and further headers), and its value."""


def form(
    parts: Sequence[Part], boundary: str, *, newline: bytes = b"\r\n", leading: bool = False
) -> bytes:
    """A multipart body. `leading`: with the line end before the first boundary that distutils
    sends.
    """
    line = b"--" + boundary.encode()
    body = newline if leading else b""
    for headers, value in parts:
        disposition = f"Content-Disposition: form-data; {headers}".encode().replace(
            b"\r\n", newline
        )
        body += (
            line
            + newline
            + disposition
            + newline * 2
            + (value.encode() if isinstance(value, str) else value)
            + newline
        )
    return body + line + b"--" + newline


def text(name: str, value: str) -> Part:
    """A text field."""
    return (f'name="{name}"', value)


def content(
    filename: str, data: bytes, headers: str = "\r\nContent-Type: application/octet-stream"
) -> Part:
    """The part with the distribution."""
    return (f'name="content"; filename="{filename}"{headers}', data)


class WholeCase(SynchronousTestCase):
    """A test of a whole pypid, which is made new for each test."""

    rules = RULES

    def setUp(self) -> None:
        """Make one; its own hashes of passwords cost nothing, too, so that it makes no better ones
        of those that stand here.
        """
        self.patch(passwords, "_ours", lambda: CHEAP)
        self.patch(passwords, "_NOBODYS", CHEAP_NOBODYS)
        self.spool = Path(self.mktemp())
        self.pypid = Pypid(self.spool, rules=self.rules)

    def have(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """What the coroutine returns."""
        result: T = self.successResultOf(start(coroutine))
        return result

    def have_index(self, name: str, **values: str) -> dict[str, Any]:
        """Create a named index by the API; its document."""
        answer = self.pypid.api("POST", "/api/indexes", {"name": name, "values": values})
        self.assertEqual(answer.status, 201, answer)
        document: dict[str, Any] = answer.json
        return document

    def send_form(
        self,
        parts: Sequence[Part],
        *headers: tuple[str, str],
        target: str = "/legacy/",
        user: str | None = "alice",
        pypid: Pypid | None = None,
    ) -> Answer:
        """The answer to a form, which is marked as an upload if it says nothing itself."""
        boundary = f"form{next(_boundaries)}"
        body = form(parts, boundary)
        kind = ("Content-Type", f"multipart/form-data; boundary={boundary}")
        return (pypid or self.pypid).ask("POST", target, kind, *headers, body=body, user=user)

    def publish(
        self,
        filename: str,
        data: bytes,
        *parts: Part,
        target: str = "/legacy/",
        user: str | None = "alice",
        headers: Headers = (),
        pypid: Pypid | None = None,
    ) -> Answer:
        """The answer to the shortest form that uploads a file; `parts` come before the file."""
        whole = [
            text(":action", "file_upload"),
            text("protocol_version", "1"),
            *parts,
            content(filename, data),
        ]
        return self.send_form(whole, *headers, target=target, user=user, pypid=pypid)

    def have_wheel(
        self, name: str = "spam", version: str = "1.0", **options: Any
    ) -> tuple[str, bytes]:
        """Publish a wheel; its file name and its bytes."""
        filename, data = (
            wheel_filename(name, version, tag=options.get("tag", "py3-none-any")),
            wheel(name, version, **options),
        )
        self.published(self.publish(filename, data))
        return filename, data

    def have_adopted_wheel(self, **options: Any) -> None:
        """Adopt a wheel of spam 1.0 that an upload may be refused for."""
        self.have(self.pypid.blobs.write(wheel_filename(), BytesBody(wheel(**options))))
        self.have(self.pypid.index.maintenance.adopt("", "alice"))

    def have_sdist(
        self, name: str = "spam", version: str = "1.0", **options: Any
    ) -> tuple[str, bytes]:
        """Publish an sdist; its file name and its bytes."""
        suffix = options.get("suffix", ".tar.gz")
        filename, data = (
            sdist_filename(name, version, suffix=suffix),
            sdist(name, version, **options),
        )
        self.published(self.publish(filename, data))
        return filename, data

    def published(self, answer: Answer) -> None:
        """The upload was taken."""
        self.assertEqual(answer.status, 200, answer)

    def refused(self, answer: Answer, status: int, *words: str) -> None:
        """The answer is this error, and its text holds these words."""
        self.assertEqual(answer.status, status, answer)
        for word in words:
            self.assertIn(word, answer.text)

    def keys(self) -> list[str]:
        """All keys of the storage."""

        async def listed() -> list[str]:
            return [blob.key async for blob in self.pypid.blobs.list()]

        return self.have(listed())

    def incoming(self) -> list[Path]:
        """The files in the spool."""
        return list(self.spool.iterdir())
