"""The ports of pypid: protocols of what it needs from outside, without code.

A backend is one file in the folder of its port, and passes the contract suite for it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from datetime import datetime, timedelta
from typing import Protocol, TypeVar

from pypid.core.model import (
    ArchiveState,
    Blob,
    Listing,
    LocalProject,
    Presence,
    SignedUrl,
    Span,
    Summary,
    UpstreamEntry,
)
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Credential, Identity


class Body(Protocol):
    """A stream of bytes, read once, piece by piece, at the pace of its reader.

    Iterate it once, to the end or until `aclose`; the pieces are of any size above 0. The receiver
    of a body closes it.
    """

    @property
    def size(self) -> int | None:
        """The number of bytes that will come, or None if it is unknown."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Yield the pieces in order. Raises what the source raises; never ends early without
        raising.
        """

    async def aclose(self) -> None:
        """Release the underlying resource. May be called at any time, and more than once."""


class Blobs(Protocol):
    """A blob store: bytes by key; it knows nothing of projects.

    Keys are relative paths in any UTF-8 text with ``/`` between parts that are neither empty, ``.``
    nor ``..``, without NUL; no key is another's folder. Under any other key nothing can be stored:
    reading it raises `Missing`, writing it `ValueError`. Everything raises `StorageDown` where the
    store is unreachable, removed or denies access.
    """

    async def read(self, key: str, span: Span | None = None) -> Body:
        """Return the bytes, or those of `span`, once they are certain to be readable: one version,
        whatever happens meanwhile.

        Raises `Missing`, also where the blob is shorter than `span` says.
        """

    async def write(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        """Store the whole body durably under `key`, or nothing; close the body.

        Of several concurrent writers exactly one wins; without `replace` the others get `Exists`,
        and so does a later one (the body may then be left unread). Raises `StorageFull`, and
        whatever the body raises, with nothing stored. After `StorageDown` or a cancellation the
        blob is either complete or unchanged, and which of the two is unknown.
        """

    async def delete(self, key: str) -> None:
        """Remove the blob; do nothing if it does not exist."""

    async def stat(self, key: str) -> Blob:
        """Return what a listing says of this blob. Raises `Missing`."""

    def list(self, prefix: str = "") -> AsyncGenerator[Blob, None]:
        """Yield every blob whose key begins with `prefix`, in the order of the keys' UTF-8 bytes.

        A blob written or deleted meanwhile may or may not appear; every other one appears exactly
        once. Raises `StorageDown` rather than ending early. Close it explicitly
        (`contextlib.aclosing`).
        """

    async def link(
        self, key: str, lifetime: timedelta, filename: str | None = None
    ) -> SignedUrl | None:
        """Return a signed URL valid for `lifetime` at most, or None if the store has no signed
        URLs.

        Clients save the file as `filename`, or else under the name that the key has.
        """


class SharedLinks(Protocol):
    """Signed URLs that several nodes share, by key: short, without a filename. Every method
    raises `CatalogDown`, after a second at most; a URL is never logged.
    """

    async def link(self, key: str, good_after: datetime) -> SignedUrl | None:
        """Return the URL that all nodes use, if there is one that ends after `good_after`."""

    async def keep_link(self, key: str, link: SignedUrl, good_after: datetime) -> SignedUrl:
        """Return the URL that all nodes use from now on: this one, or one that is stored already
        and ends after `good_after`.
        """


class Describing(Protocol):
    """An optional ability of `Blobs`: to store a description with a blob, a few short ASCII texts
    by name.

    pypicloud describes its files so in a bucket (`core.records.pypicloud_descriptions`). Everything
    raises `StorageDown`.
    """

    async def description(self, key: str) -> Mapping[str, str]:
        """Return the description that the blob was written with; names are lower-case. Raises
        `Missing`.
        """


class Provisional(Protocol):
    """An optional ability of `Blobs`: to mark a blob whose publish is not committed yet, in the
    same write.

    The mark is as durable as the blob. It is read back as `Blob.provisional`, and changes nothing
    else. Everything raises `StorageDown`.
    """

    async def write_provisional(self, key: str, body: Body, *, replace: bool = False) -> Blob:
        """Store the body as `Blobs.write` does, with the mark."""

    async def confirm(self, key: str) -> None:
        """Remove the mark; do nothing if the blob does not exist."""


class Duplicating(Protocol):
    """An optional ability of `Blobs`: to store the bytes of a blob under a second key, without
    sending them through this process where the store can do that.
    """

    async def duplicate(
        self,
        source: str,
        target: str,
        *,
        replace: bool = False,
        tell: Callable[[int], object] | None = None,
    ) -> Blob:
        """Store the bytes of `source` under `target`, too; return the new blob.

        Writing to one of the keys later never changes the bytes under the other. `target` is taken
        as `Blobs.write` takes a key; in a bucket, a crash may leave it empty. `tell` is called with
        the number of bytes that were copied so far, if they have to be copied one by one. Raises
        `Missing` for `source`, `Exists` for `target`, `Archived`, `StorageFull`, `StorageDown`.
        """


class Bucket(Protocol):
    """What a store that is an S3 bucket can do in addition to `Blobs`. Everything raises
    `StorageDown`.
    """

    async def archive_state(self, key: str) -> ArchiveState:
        """Return the archive state of the blob. Raises `Missing`."""

    async def move(self, key: str, storage_class: str) -> None:
        """Put the blob into the storage class; its bytes and its description stay as they are.

        Raises `Missing`, `Archived` where it has to be restored before, `BadRequest` for a class
        that the store does not know.
        """

    async def copy(self, key: str, target: str) -> None:
        """Copy the blob inside the store, with its description, whatever its size; one under
        `target` is replaced. Raises `Missing`, `Archived`.
        """

    async def is_versioned(self) -> bool | None:
        """Return whether deleted blobs stay readable as former versions; None if unknown."""

    async def restore(self, key: str) -> None:
        """Request a readable copy of an archived blob for some days; it is available hours later.
        Raises `Missing`.
        """

    def below(self, prefix: str) -> Bucket:
        """Return the bucket of the blobs below `prefix`, which ends with a slash; keys are relative
        to it.
        """


TableKey = ProjectName
"""The key of a row of the catalog: a project with its index or upstream (`core.records.layout`)."""
Got_co = TypeVar("Got_co", covariant=True)
V = TypeVar("V")


class Table(Protocol[Got_co, V]):
    """The projects of one kind of one index or upstream in the catalog: an entry for each.

    Each visible change gets the next serial number of the catalog; a read after an awaited change
    shows it.
    """

    async def get(self, name: ProjectName) -> Got_co:
        """Return the entry."""

    async def edit(self, name: ProjectName, change: Callable[[V], V]) -> V:
        """Replace the entry by the result of `change`, as one step; return the new one.

        An equal result changes nothing and takes no serial.
        """

    async def summaries(self) -> Sequence[Summary]:
        """Return what a project list says of the entries, by name; the same object until something
        changes.
        """


class LocalTable(Table[LocalProject | Presence, LocalProject | None], Protocol):
    """The local projects.

    `get` returns the project, or whether its absence is proven (`Catalog.complete` was called) or
    unknown. None in an edit: there is no such project; as its result: remove it.
    """

    async def edit(
        self,
        name: ProjectName,
        change: Callable[[LocalProject | None], LocalProject | None],
        *,
        mark: str | None = None,
    ) -> LocalProject | None:
        """Replace the project, as `Table.edit`. `mark` is stored with it (see `mark`)."""

    async def edit_all(
        self, changes: Mapping[ProjectName, Callable[[LocalProject | None], LocalProject | None]]
    ) -> Mapping[ProjectName, LocalProject | None]:
        """Replace several projects in one step with one serial: readers see all changes or none,
        and if one fails, nothing is changed. Return the new projects.
        """

    async def mark(self, name: ProjectName) -> str | None:
        """Return the fingerprint of the storage listing that the project was last read from; None
        after any other edit.
        """


class UpstreamTable(Table[UpstreamEntry, UpstreamEntry], Protocol):
    """The upstream listings of projects, and their cached files.

    `get` returns an empty `UpstreamEntry` where there is nothing. An edit of `listing.confirmed`
    and `listing.etag` alone takes no serial. `summaries` has the projects with cached files only.
    """


class Catalog(Protocol):
    """The catalog of one index, or of one upstream: derived from `Blobs`, and can always be rebuilt
    from there. Those of all indexes and upstreams share the serials, and are complete together.
    """

    @property
    def local(self) -> LocalTable:
        """The local projects; an upstream has none."""

    @property
    def upstream(self) -> UpstreamTable:
        """The upstream projects; a named index has none of its own."""

    def of(self, *, index: str | None = None, source: str | None = None) -> Catalog:
        """Return the catalog of another index, or of another upstream (`source`)."""

    async def index_lists(self) -> Mapping[str, Sequence[Summary]]:
        """Return what a project list says of the local projects of each named index that has any;
        the same object until something changes.
        """

    async def indexes_with(self, name: ProjectName) -> AbstractSet[str] | None:
        """Return the named indexes that have a local project of this name; None if the catalog
        cannot prove that there are no others.
        """

    async def serial(self) -> int:
        """Return the serial of the last change."""

    async def complete(self) -> None:
        """Note that all of the storage has been compared: from now on a project that is not in the
        catalog is absent. Does nothing in a catalog of another than the default index: its part of
        the storage proves nothing for the others.
        """

    async def is_complete(self) -> bool:
        """Return whether `complete` was called since this process started; False where that cannot
        be asked now.
        """

    @property
    def was_complete(self) -> bool:
        """The last known value of `is_complete`, also while the catalog cannot be asked."""

    def begin_comparison(self) -> None:
        """Begin a comparison with the storage; `complete` will confirm this one."""

    async def is_away(self) -> bool:
        """Return whether the catalog is unavailable: what it still shows may be old, and nothing
        can be changed.
        """

    @property
    def generation(self) -> str:
        """The generation of the serials: with another generation, earlier serials mean nothing, and
        equal heads may be of other projects. Check it before reading anything stored by a serial.
        """

    # --- without waiting: for reports at once whether a response would be the same again ---

    @property
    def changes(self) -> int:
        """A number that differs after each visible change."""

    @property
    def knows_all(self) -> bool:
        """The last known value of `Catalog.is_complete`, without waiting."""

    def heads(self, name: ProjectName) -> tuple[Summary | None, Summary | None]:
        """Return what a project list says of the local and of the upstream project; other objects
        after each visible change. Where there are upstream projects, a name that is local in any
        index has a local head, too: it is private.
        """

    def listing_time(self, name: ProjectName) -> datetime | None:
        """Return when upstream was last asked for the project, as far as that is remembered."""


class Access(Protocol):
    """Authentication: the identity of a client. (What it may do is `core.permissions`.)"""

    async def identify(self, credential: Credential) -> Identity:
        """Return the identity that the credential proves.

        Raises `Unauthenticated` (an unknown user takes as long as a wrong password), `Busy`,
        `TooManyAttempts`, and `PeopleUnknown` where the sources cannot be asked.
        """


class People(Protocol):
    """One source of users: `access.chain` asks several, one after the other."""

    async def check(self, credential: Credential) -> Identity | None:
        """Return the identity that the credential proves; None if this source does not know the
        user.

        Raises `Unauthenticated` where it knows the user and the password is wrong (the other
        sources are not asked then), `PeopleUnknown` where it cannot tell, and `Busy`. Returning
        early for unknown users is fine: the chain equalizes timing.
        """

    async def find(self, user: str) -> Identity | None:
        """Return the user's identity without any proof: for tokens, sessions and rights to come;
        None if the source does not know the user, or the user may not log in. Raises
        `PeopleUnknown`.
        """

    async def groups(self, user: str) -> frozenset[str]:
        """Return the groups that this source puts a user of another source into; none, if it knows
        groups of its own users only.
        """


class Upstream(Protocol):
    """Other indexes, seen through the Simple API, in the order of the configuration: the first that
    knows a name wins.

    The caller has made sure that the name may be sent (`policy.asks_upstream`). Every wait and
    every body is bounded. Everything raises `UpstreamDown` where no index could be asked (refused,
    timed out, reset, truncated, 5xx, an expired certificate), `BadListing` where the answer is
    unusable, and `Loop` where the request has been here before.
    """

    async def project(
        self, name: ProjectName, known: Listing | None, via: Sequence[str]
    ) -> Listing:
        """Return the current upstream listing of the project.

        `known` is the previous listing: if it still holds (304), it is returned with a new
        `confirmed`. `files` is None if no index has the project.
        """

    async def names(self, via: Sequence[str]) -> Sequence[ProjectName]:
        """Return the names of all upstream projects."""

    async def fetch(
        self, url: str, span: Span | None, via: Sequence[str], *, verified: bool = True
    ) -> Body:
        """Return the bytes of an upstream file (or of its ``.metadata``), or exactly those of
        `span`, once the response head has come.

        `via` names the pypids that the request has come through (``Via``). Raises `NotThere` for
        404 and 410. A body that ends early raises `UpstreamDown`.

        `verified`: the caller compares the bytes with a hash. A part can never be verified, and
        what is not verified comes from the indexes' own hosts and those of ``file_hosts`` only:
        raises `UnlistedHost` where the URL, or a redirect, leads to another. `AddressRefused` where
        it leads to another host whose address is not public.
        """
