"""The sockets: what pypid needs of the outside world. Protocols and docstrings only.

A backend is one file in the folder of its socket, and passes the contract suite for it
(`pypid.testing`).
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Protocol

from pypid.core.accounts.entries import Account, AuditEntry, DownloadEntry, Minted, Session, Token
from pypid.core.accounts.rights import Right, Whom
from pypid.core.model import (
    ArchiveState,
    Blob,
    Listing,
    Presence,
    Project,
    SignedUrl,
    Span,
    Summary,
    Unfinished,
    UpstreamEntry,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Credential, Identity

if TYPE_CHECKING:
    from pypid.core.accounts.acl_dump import Dump
    from pypid.core.accounts.acl_merge import Merged
    from pypid.core.packaging.install_targets import InstallTarget


class Body(Protocol):
    """Bytes that come once, piece by piece, at the pace of whoever takes them.

    Iterate it once, to the end or until `aclose`; the pieces are of any size above 0. Whoever
    receives a body closes it.
    """

    @property
    def size(self) -> int | None:
        """The number of bytes that will come, or None where nobody knows."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """The pieces, in order. Raises what the source raises; never ends early without raising."""

    async def aclose(self) -> None:
        """Let go of what is behind it. May be called at any time, and more than once."""


class Blobs(Protocol):
    """Bytes by key; knows nothing of projects.

    Keys are relative paths in any UTF-8 text with ``/`` between parts that are neither empty, ``.``
    nor ``..``, without NUL; no key is another's folder. Under anything else nothing can be stored:
    to read it is `Missing`, to write it a `ValueError`. Everything raises `StorageDown` where the
    store cannot be reached, is gone or denies access.
    """

    async def read(self, key: str, span: Span | None = None) -> Body:
        """The bytes, or those of `span`, once it is certain that they can be read: one version,
        whatever happens meanwhile.

        Raises `Missing`, also where the blob is shorter than `span` says.
        """

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        """Store the whole body durably under `key`, or nothing; closes the body.

        Of several writers at once exactly one wins; without `replace` the others get `Exists`, and
        so does a late one (the body may then be left unread). Raises `StorageFull`, and whatever
        the body raises, with nothing stored. After `StorageDown`, or when it is cancelled, the blob
        is there whole or as it was, and nobody knows which.
        """

    async def delete(self, key: str) -> None:
        """Remove the blob; one that is not there is removed already."""

    async def stat(self, key: str) -> Blob:
        """What a listing says of this blob. Raises `Missing`."""

    def list(self, prefix: str = "") -> AsyncGenerator[Blob, None]:
        """Every blob whose key begins with `prefix`, in the order of the keys' UTF-8 bytes.

        What is written or deleted meanwhile may be there or not; everything else is there exactly
        once. Raises `StorageDown` rather than ending early. Close it by hand
        (`contextlib.aclosing`).
        """

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        """A signed URL that is good for `lifetime` at most, or None where the store has no such
        thing.

        What it gives is saved as `filename`, or else under the name that the key has.
        """


class Describing(Protocol):
    """What a `Blobs` may be able to do besides: to keep with a blob what is said of it, a few short
    ASCII texts by name.

    pypicloud describes its files so in a bucket (`core.records.pypicloud_descriptions`). Everything
    raises `StorageDown`.
    """

    async def description(self, key: str) -> Mapping[str, str]:
        """What whoever wrote the blob said of it; names are lower-case. Raises `Missing`."""

    async def write_described(
        self, key: str, body: Body, description: Mapping[str, str], *, replace: bool = False
    ) -> Blob:
        """As `Blobs.write`, with the description."""


class Bucket(Protocol):
    """What a store can do that is a bucket of S3, beside what every `Blobs` can. Everything raises
    `StorageDown`.
    """

    async def standing(self, key: str) -> ArchiveState:
        """Where the blob stands. Raises `Missing`."""

    async def move(self, key: str, storage_class: str) -> None:
        """Put the blob into the storage class; its bytes, and what else is said of it, stay as they
        are.

        Raises `Missing`, `Archived` where it has to be restored before, `BadRequest` for a class
        that the store does not know.
        """

    async def restore(self, key: str) -> None:
        """Ask for a copy of an archived blob that can be read for some days; it is there hours
        later. Raises `Missing`.
        """

    def unfinished(self) -> AsyncGenerator[Unfinished, None]:
        """The uploads in parts that were begun and not ended; those under way are among them. Close
        it by hand.
        """

    async def abandon(self, upload: Unfinished) -> None:
        """Take the parts of an unfinished upload away, so that it never ends; one that ended
        meanwhile stays.
        """


class Catalog(Protocol):
    """What we know of our projects: derived from `Blobs`, and can always be rebuilt from there.

    Each change gets the next serial number; what is read after a change was awaited shows it.
    """

    async def ours(self, name: ProjectName) -> Project | Presence:
        """The project; or whether its absence is proven (`complete` was called) or unknown."""

    async def names(self) -> Sequence[Summary]:
        """All our projects, by name; the same object until something changes."""

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[Project | None], Project | None],
        *,
        mark: str | None = None,
    ) -> Project | None:
        """Replace the project by what `change` makes of it (None: take it out), as one step;
        returns what is now held.

        An equal result changes nothing and takes no serial. `mark` is kept beside it (see `mark`).
        """

    async def mark(self, name: ProjectName) -> str | None:
        """The fingerprint of the storage listing that the project was last read from; None after
        any other edit.
        """

    async def theirs(self, name: ProjectName) -> UpstreamEntry:
        """What was heard of the project of other indexes, and what of it is kept; an empty
        `UpstreamEntry` where there is nothing.
        """

    async def edit_theirs(
        self, name: ProjectName, change: Callable[[UpstreamEntry], UpstreamEntry]
    ) -> UpstreamEntry:
        """Replace what is known of theirs by what `change` makes of it, as one step.

        Only a change of what can be seen takes a serial: not one of `said.asked` and `said.etag`
        alone.
        """

    async def their_names(self) -> Sequence[ProjectName]:
        """The projects of theirs of which files are kept, by name."""

    async def their_summaries(self) -> Sequence[Summary]:
        """The same, with what a list of projects says of them; the same object until something
        changes.
        """

    async def serial(self) -> int:
        """The serial of the last change."""

    async def complete(self) -> None:
        """Say that all that storage holds has been compared: from now on what is not held is
        absent.
        """

    async def is_complete(self) -> bool:
        """Whether `complete` was called since this process started; not where that cannot be asked
        now.
        """

    @property
    def was_complete(self) -> bool:
        """The same as far as it is known, also where it cannot be asked now."""

    def begin_comparison(self) -> None:
        """A comparison with the storage begins: `complete` will say that this one is done."""

    async def is_away(self) -> bool:
        """Whether it cannot be asked now: what it still shows may be old, and nothing can be
        changed.
        """

    @property
    def epoch(self) -> str:
        """Another one, and serials of before mean nothing. Look at it before what is kept by a
        serial is read.
        """


class Access(Protocol):
    """Who somebody is. (What they may do is `core.permissions`.)"""

    async def identify(self, credential: Credential) -> Identity:
        """The identity that the credential proves.

        Raises `Unauthenticated` (an unknown user takes as long as a wrong password), `Busy`,
        `TooManyAttempts`, and `PeopleUnknown` where those who know cannot be asked.
        """


class People(Protocol):
    """One source of people: `access.chain` asks several, one after the other."""

    async def check(self, credential: Credential) -> Identity | None:
        """The identity that the credential proves; None where this source does not know the user.

        Raises `Unauthenticated` where it knows the user and the password is wrong (the others are
        not asked then), `PeopleUnknown` where it cannot tell, and `Busy`. An unknown user may be
        told quickly: the chain sees to it that it takes as long.
        """

    async def find(self, user: str) -> Identity | None:
        """Who the user is, without any proof: for tokens, sessions and rights to come; None where
        it does not know the user, or where the user may not log in. Raises `PeopleUnknown`.
        """

    async def groups(self, user: str) -> frozenset[str]:
        """The groups that it puts a user into whom another source knows; none, if it knows groups
        of its own people only.
        """


class Accounts(Protocol):
    """People, groups, rights, tokens and sessions that can be changed while pypid runs. What was
    awaited is durable.

    Everything that reads or writes raises `PeopleUnknown` where the database is away, and then
    nothing has changed.
    """

    async def users(self) -> Sequence[Account]:
        """All, by name."""

    async def user(self, name: str) -> Account:
        """One. Raises `NoSuchUser`."""

    async def add_user(self, account: Account) -> None:
        """A new one. What tokens and sessions the name still has end: they are another person's.
        Raises `NameTaken`.
        """

    async def edit_user(self, name: str, change: Callable[[Account], Account]) -> Account:
        """Replace it by what `change` makes of it, as one step; what is now there. Raises
        `NoSuchUser`.

        With another hash, or a standing other than active, the user's sessions end; the tokens end
        with a standing other than active.
        """

    async def remove_user(self, name: str) -> None:
        """Take it away, with its tokens, sessions, rights and memberships. Raises `NoSuchUser`."""

    async def memberships(self) -> Mapping[str, frozenset[str]]:
        """The members of each group, by the group's name."""

    async def add_group(self, name: str) -> None:
        """A new one, empty. Raises `NameTaken`."""

    async def remove_group(self, name: str) -> None:
        """Take it away, with its rights. Raises `NoSuchGroup`."""

    async def join(self, group: str, user: str) -> None:
        """Make the user a member; who is one already stays one. The user may be known elsewhere
        only. Raises `NoSuchGroup`.
        """

    async def leave(self, group: str, user: str) -> None:
        """The contrary. Raises `NoSuchGroup`."""

    async def rights(self) -> Sequence[Right]:
        """All, by project."""

    async def grant(self, right: Right) -> None:
        """Give the right, in place of another one of the same project, kind and name."""

    async def withdraw(self, project: ProjectName, whom: Whom, name: str) -> None:
        """Take the right away; one that is not there is taken away already."""

    async def merge(self, dump: Dump) -> Merged:
        """Add the people of the dump who have no account yet, its groups, members and rights, as
        one step.

        Whoever is there stays as he is, and no right becomes smaller. Raises `BadRequest`.
        """

    async def tokens(self, user: str | None = None) -> Sequence[Token]:
        """A user's, or all; revoked and expired ones too, for a month. By the time
        they were made.
        """

    async def token(self, digest: str) -> Token | None:
        """The token of this digest, if it can be used now. Quick: out of memory."""

    def token_used(self, id: str, address: str) -> None:
        """Remember that it was used just now; written down within a minute."""

    async def add_token(self, token: Token) -> None:
        """A new one."""

    async def revoke_token(self, id: str) -> Token:
        """From this moment on nobody is anybody by it. Raises `NoSuchToken`."""

    async def session(self, digest: str) -> Session | None:
        """The session of this digest, if it goes on. Quick: out of memory."""

    async def add_session(self, session: Session) -> None:
        """A new one. Where its user has `MOST_SESSIONS` already, the oldest of them ends."""

    async def end_session(self, digest: str) -> None:
        """The end of it; one that is not there has ended already."""

    async def once(self, kind: str, value: str, until: datetime) -> bool:
        """Whether nobody has said this `value` before: true for exactly one caller, until then (a
        JWT's ``jti``).
        """


class Publishers(Protocol):
    """Trusted publishing: workflows of a forge get tokens for a while, in exchange for the forge's
    word on who they are.
    """

    @property
    def audience(self) -> str | None:
        """For whom an identity token must be made; None where no issuer is configured."""

    async def mint(self, jwt: str, address: str) -> Minted:
        """A token to publish with, for the identity token `jwt` that came from `address`.

        Raises `MintRefused`, `PeopleUnknown` where its issuer cannot be asked for its keys, and
        `Busy`.
        """


class Journal(Protocol):
    """The audit log: who changed what, when, from where. Lines are only ever added."""

    async def note(self, deed: AuditEntry) -> None:
        """Write it down durably. Never fails: what cannot be written is said in the log, and tried
        again.
        """

    async def deeds(
        self,
        *,
        before: int | None = None,
        most: int = 100,
        who: str | None = None,
        what: str | None = None,
        subject: str | None = None,
    ) -> Sequence[AuditEntry]:
        """The newest first, of those with a serial below `before`. Raises `PeopleUnknown`."""


class Downloads(Protocol):
    """Who was given which file."""

    def note(self, download: DownloadEntry) -> None:
        """Remember it; it is written down within a second or so."""

    async def of(
        self, sha256: str, *, most: int = 1000, before: int | None = None
    ) -> Sequence[DownloadEntry]:
        """Return the downloads of one file, newest first, each with its serial.

        `before`: only those with a lower serial, to page through more than `most`.
        Raises `PeopleUnknown`.
        """

    async def by_day(self, project: str, since: date) -> Sequence[tuple[date, int]]:
        """On which days (in UTC, from `since` on, the oldest first) files of the project were given
        to somebody, and how often.

        Days without any are left out. Costs the same however many there were. Raises
        `PeopleUnknown`.
        """


class Upstream(Protocol):
    """Other indexes, seen through the Simple API, in the order of the configuration: the first that
    knows a name wins.

    Whoever asks has made sure that the name may be told (`policy.asks_upstream`). Every wait and
    every body is bounded. Everything raises `UpstreamDown` where nobody could be asked (refused,
    timed out, reset, truncated, 5xx, an expired certificate), `BadListing` where the answer cannot
    be used, and `Loop` where the request has been here before.
    """

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """What they say of the project now. `known` is what they said before: where it is still so
        (304), it comes back with a new `asked`. `files` is None where none of them has the project.
        """

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """All projects that they have."""

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """The bytes of a file of theirs (or of its ``.metadata``), or exactly those of `span`, once
        their head has come.

        `via` names the pypids that the request has come through (``Via``). Raises `NotThere` for
        404 and 410. A body that ends early raises `UpstreamDown`.

        `verified`: the caller compares the bytes with a hash. A part never can be, and what is not
        comes from the indexes' own hosts and those of ``file_hosts`` only: raises `UnlistedHost`
        where the URL, or a redirect, leads to another. `AddressRefused` where it leads to another
        host whose address is not public.
        """


class Glance(Protocol):
    """What a `Catalog` may be able to say besides, at once: whether what was made of it would be
    made again as it is.

    Before a catalog that cannot, no finished answers are kept.
    """

    @property
    def changes(self) -> int:
        """Another number after each change of anything that can be seen."""

    @property
    def knows_all(self) -> bool:
        """As `Catalog.is_complete`."""

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """What a list says of the project of ours, and of that of theirs; others after each change
        that can be seen.
        """

    def asked(self, name: ProjectName) -> datetime | None:
        """When the other index was asked for the project last, as far as that is remembered."""

    @property
    def epoch(self) -> str:
        """As `Catalog.epoch`: heads of two epochs may be equal, and of other projects."""


class Resolver(Protocol):
    """Works out which releases requirements need, their dependencies included. For one person,
    until it is closed.
    """

    async def resolve(
        self, requirements: Sequence[str], target: InstallTarget, *, prereleases: bool
    ) -> Sequence[tuple[ProjectName, str]]:
        """The project and version of each release that is needed there. `requirements` are in their
        normal form (PEP 508).

        Reads metadata only: nothing is downloaded whole, nothing is built. Raises `Unresolvable`,
        and `Busy` where it took too long.
        """
