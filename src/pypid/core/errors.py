"""Every error of pypid: an exception with fields and an HTTP status, whose text says what to do
next.

`web/app/errors.py` makes responses of them, and `cli` prints them. No text here may contain a
secret: texts go to clients and into logs.

Slots and a ``__repr__`` for each of these classes would double their start-up cost, some 30 ms.
"""

from __future__ import annotations

from collections.abc import Sequence
from shlex import quote
from string import Formatter
from typing import Any, ClassVar

from attrs import define, field, fields

INVALID_ATTESTATIONS = "Invalid attestations supplied during upload: "
"""Prefix of the public index's message about attestations that it refuses."""


INTERNAL = 0
"""The status of errors that are never meant for clients, who get a 500 with a number."""

MANAGE_RIGHTS = "manage the rights"
"""What the text of `Forbidden` calls changes of the rights on a project."""

MOST_NAMED = 20
"""Maximum number of names in a list in an error."""


class _ShorteningFormatter(Formatter):
    def convert_field(self, value: Any, conversion: Any) -> Any:
        return super().convert_field(shortened(value) if conversion == "r" else value, conversion)


_formatter = _ShorteningFormatter()


@define(slots=False, repr=False)
class PypidError(Exception):
    """The base class of everything that pypid refuses or cannot do. ``str()`` is one readable line
    or paragraph.

    Keywords of the class statement, inherited by subclasses: `status`, the HTTP status of responses
    with this error; `template`, its text as a format of its fields: ``{name!r}`` is shortened.
    """

    http_status: ClassVar[int] = INTERNAL
    template: ClassVar[str] = ""

    def __init_subclass__(cls, *, status: int | None = None, template: str = "") -> None:
        super().__init_subclass__()
        if status is not None:
            cls.http_status = status
        if template:
            cls.template = template

    def __str__(self) -> str:
        return self.text()

    def __repr__(self) -> str:
        values = [
            f"{each.name}={getattr(self, each.name)!r}" for each in fields(type(self)) if each.repr
        ]
        return f"{type(self).__name__}({', '.join(values)})"

    def text(self) -> str:
        """Return what happened and what to do about it."""
        return _formatter.vformat(self.template, (), vars(self)) or type(self).__name__


@define(slots=False, repr=False)
class ErrorWithReason(PypidError, status=INTERNAL, template="{reason}"):
    """An error whose whole text is its `reason`."""

    reason: str


@define(slots=False, repr=False)
class BadName(
    PypidError,
    status=400,
    template=(
        "{name!r} is not a valid project name: use at most 200 letters, digits, '.', '_' and "
        "'-', beginning and ending with a letter or a digit."
    ),
):
    """The text is not a project name (packaging specification "Names and normalization")."""

    name: str


@define(slots=False, repr=False)
class BadFilename(
    PypidError, status=400, template="{filename!r} is not a valid distribution file name: {reason}"
):
    """The file name is not valid for any distribution."""

    filename: str
    reason: str


@define
class ConfigProblem:
    """One problem in the configuration; `str` gives one line: the place, the value read, the values
    allowed.

    `section` is empty if the problem concerns the file or the environment as a whole.
    """

    where: str
    line: int | None
    section: str
    key: str | None
    message: str

    def __str__(self) -> str:
        place = self.where if self.line is None else f"{self.where}:{self.line}"
        name = " ".join(
            part for part in (f"[{self.section}]" if self.section else "", self.key) if part
        )
        return ": ".join(part for part in (place, name, self.message) if part)


@define(slots=False, repr=False)
class BadConfig(PypidError, status=INTERNAL):
    """The configuration cannot be used; holds all its problems, not only the first."""

    problems: Sequence[ConfigProblem]

    def text(self) -> str:
        head = "1 problem" if len(self.problems) == 1 else f"{len(self.problems)} problems"
        return "\n".join(
            [f"{head} in the configuration:", *(f"  {problem}" for problem in self.problems)]
        )


@define(slots=False, repr=False)
class CannotStart(ErrorWithReason, status=INTERNAL):
    """The daemon cannot start; `reason` says why and what to do."""


def _place(index: str) -> str:
    return f"in the index {index!r}" if index else "on this index"


@define(slots=False, repr=False)
class NoSuchProject(PypidError, status=404):
    """No project of this name is visible here."""

    name: str
    is_hidden: bool = field(default=False, repr=False)
    """Whether an index has the project and the client may not read it there. Then later layers are
    not searched, since they may have a different project of this name.
    """
    index: str = field(default="", repr=False)
    """The index, if it is not the one of the request."""
    advice: str = field(default="", repr=False)
    """What to do, if it is not obvious."""

    def text(self) -> str:
        advice = f" {self.advice}" if self.advice else ""
        return f"There is no project {shortened(self.name)!r} {_place(self.index)}.{advice}"


@define(slots=False, repr=False)
class NoSuchIndex(PypidError, status=404):
    """No such named index is visible. `readable`: those that the client may read."""

    name: str
    readable: Sequence[str] | None = None

    def text(self) -> str:
        if self.name == "default":
            return (
                "'default' is the index at the root, whose URLs have no name. Its settings are "
                "[access] and [upstream] of the configuration."
            )
        missing = f"There is no index {shortened(self.name)!r}."
        if self.readable is None:
            return f"{missing} `pypid index list` lists all indexes."
        if not self.readable:
            return f"{missing} There is no named index that you may read."
        more = len(self.readable) - MOST_NAMED
        others = f" and {more} more" if more > 0 else ""
        return f"{missing} You may read: {', '.join(self.readable[:MOST_NAMED])}{others}."


@define(slots=False, repr=False)
class IndexExpired(
    PypidError, status=410, template="The index {name!r} expired at {expires}. {advice}"
):
    """The index has expired. `advice` says what to do."""

    name: str
    expires: str
    advice: str = "Use another one."


@define(slots=False, repr=False)
class IndexInUse(ErrorWithReason, status=409):
    """Other indexes have this one as a base, or the storage has files or private names of it."""


@define(slots=False, repr=False)
class NameUsedUpstream(PypidError, status=403):
    """An upstream has the project, so that publishing it would replace it for all users. `user`:
    the account that wanted to publish it, "" if there is none.
    """

    name: str
    user: str = ""

    def text(self) -> str:
        name, user = shortened(self.name), shortened(self.user)
        grant = f", or allow it: pypid right grant {name} {quote(user)} rw" if user else "."
        # uv shortens the text: the command has to come early
        return (
            f"The project {name!r} exists in the upstream index. An administrator can publish it "
            f"here, in its place{grant}"
        )


@define(slots=False, repr=False)
class NoSuchFile(PypidError, status=404):
    """No file (or release) of this name is visible here. `index`: as in `NoSuchProject`."""

    name: str
    index: str = field(default="", repr=False)

    def text(self) -> str:
        return f"There is no file or release {shortened(self.name)!r} {_place(self.index)}."


@define(slots=False, repr=False)
class NoSuchMember(
    PypidError,
    status=404,
    template="{filename!r} has no member {path!r}. See its list of contents.",
):
    """The archive has no member of this path."""

    filename: str
    path: str


@define(slots=False, repr=False)
class Opaque(PypidError, status=422, template="{filename!r} cannot be inspected: {reason}"):
    """The contents of a file cannot be read. The file can still be downloaded."""

    filename: str
    reason: str


@define(slots=False, repr=False)
class NotYetKnown(PypidError, status=503):
    """It is not known yet whether the name is local: the listing of the storage, or of the rules,
    is not complete, or the index `of` has the base or upstream `missing`, which does not exist.
    """

    name: str
    retry_after: int = 5
    of: str = ""
    missing: str = ""

    def text(self) -> str:
        if self.missing:
            return (
                f"It is not known whether {shortened(self.name)!r} is hosted here: the index "
                f"{self.of!r} needs {self.missing!r}, which does not exist. Ask an administrator "
                "to correct its bases and upstreams."
            )
        advice = "the storage or the accounts database is still being read. Try again soon."
        return f"It is not known yet whether {shortened(self.name)!r} is hosted here: {advice}"


@define(slots=False, repr=False)
class ListIncomplete(
    PypidError,
    status=503,
    template=(
        "This list is not complete yet: the index is being compared with its storage. Try "
        "again soon."
    ),
):
    """Not every project is known yet: mirrors would delete what a partial list lacks."""

    retry_after: int = 5


@define(slots=False, repr=False)
class BadRequest(ErrorWithReason, status=400):
    """The request cannot be understood; `reason` says what was expected."""


@define(slots=False, repr=False)
class BadMoment(
    PypidError,
    status=400,
    template="{moment!r} is not a valid date or time for a view of the index: {reason}.",
):
    """A text in an address is not a valid time for an as-of view."""

    moment: str
    reason: str


@define(slots=False, repr=False)
class NoSuchAdvisory(PypidError, status=404, template="There is no advisory {id!r} on this index."):
    """No advisory of this id is visible here."""

    id: str


@define(slots=False, repr=False)
class NoSuchResource(ErrorWithReason, status=404):
    """What the address names does not exist, or the client may not read it."""


@define(slots=False, repr=False)
class NotAcceptable(PypidError, status=406):
    """None of the representations that the client accepts is available."""

    offered: Sequence[str]

    def text(self) -> str:
        return (
            "None of the requested formats is available. Available formats: "
            f"{', '.join(self.offered)}."
        )


@define(slots=False, repr=False)
class UploadRejected(PypidError, status=400):
    """The distribution cannot be published; holds all the problems at once."""

    problems: Sequence[str]
    filename: str = ""

    def text(self) -> str:
        what = shortened(self.filename) or "the upload"
        if len(self.problems) == 1:
            return f"{what} was not accepted: {self.problems[0]}"
        return "\n".join(
            [
                f"{what} was not accepted, for {len(self.problems)} reasons:",
                *(f"- {p}" for p in self.problems),
            ]
        )


@define(slots=False, repr=False)
class AttestationsRejected(UploadRejected):
    """The attestations of an upload (PEP 740) are not accepted; nothing else is wrong with it."""

    def text(self) -> str:
        return INVALID_ATTESTATIONS + "\n".join(self.problems)


@define(slots=False, repr=False)
class AlreadyExists(PypidError, status=400):
    """A different file of this name is published already. Clients check the first three words, and
    expect 400, as the public index responds; 409 means a namespace conflict (PEP 752).
    """

    filename: str
    blake2b_256: str | None = None

    def text(self) -> str:
        with_hash = f", with blake2_256 hash {self.blake2b_256!r}" if self.blake2b_256 else ""
        advice = "Raise the version and publish again."  # the whole text fits a reason phrase
        return f"File already exists ({self.filename!r}{with_hash}). {advice}"


@define(slots=False, repr=False)
class AlreadyThere(AlreadyExists, status=409):
    """A different file of this name is already published, reported as pypicloud's scripts expect at
    ``/api/package/...``.
    """


@define(slots=False, repr=False)
class NameUsedUp(
    PypidError,
    status=400,
    template=(
        "A file named '{filename}' was published here and deleted; its name cannot be used "
        "for different content. Raise the version and publish again."
    ),
):
    """The file name was published and deleted; its tombstone keeps it for the same content."""

    filename: str


@define(slots=False, repr=False)
class Withheld(PypidError, status=403):
    """The file exists, and a block, an advisory or a missing approval withholds it. Only for
    clients that may read the project.

    `kind` completes "it is ...": blocked, waiting for approval; `reason` is one line; `reference`
    is the id of the block or of the advisory.
    """

    filename: str
    kind: str
    reason: str
    reference: str = ""
    project: str = ""

    def text(self) -> str:
        return f"{shortened(self.filename)} is {self.kind}: {self.reason}{self._reference}"

    @property
    def _reference(self) -> str:
        return f" ({self.reference})" if self.reference else ""

    @property
    def phrase(self) -> str:
        """The reason phrase for installers that show nothing else: ASCII, up to 100 characters."""
        text = f"{self.kind}: {self.reason}{self._reference}"
        line = "".join(char if " " <= char <= "~" else "?" for char in text)
        return line if len(line) <= 100 else line[:97] + "..."


@define(slots=False, repr=False)
class RestrictionsUnknown(
    PypidError,
    status=503,
    template=(
        "No file is served until the blocks and approvals of this index are read from the "
        "storage. Try again soon."
    ),
):
    """The blocks and approvals could not be read from the storage yet."""

    retry_after: int = 5


@define(slots=False, repr=False)
class UploadForbidden(ErrorWithReason, status=403):
    """The project takes no such upload: because of its status (project status markers, PEP 792), or
    of the publishers that ``[trust] require`` names.
    """


@define(slots=False, repr=False)
class Unauthenticated(ErrorWithReason, status=401):
    """The request has no credentials or a wrong password; the response has a challenge."""

    reason: str = "Log in to do this: send a user name and a password with the request."


@define(slots=False, repr=False)
class TooManyAttempts(ErrorWithReason, status=429):
    """Too many wrong passwords, logins or registrations. `retry_after` in seconds."""

    retry_after: int


@define(slots=False, repr=False)
class LoginRefused(ErrorWithReason, status=403):
    """A wrong name or password in a login form: not 401, because browsers show their own login
    dialog at a challenge.
    """

    reason: str = "The user name or the password is wrong."


@define(slots=False, repr=False)
class NoCsrfToken(
    PypidError,
    status=403,
    template=(
        "A change made with a session cookie needs the session's CSRF token in the "
        "X-CSRF-Token header (see GET /api/session). Scripts should send a token or a password in "
        "the Authorization header instead."
    ),
):
    """A session's request to change something lacks the CSRF token that only local pages know."""


@define(slots=False, repr=False)
class RegistrationClosed(ErrorWithReason, status=403):
    """Self-registration is closed, or not available in this way."""

    reason: str = "Only administrators of this index can create accounts: ask one of them."


@define(slots=False, repr=False)
class PeopleUnknown(
    PypidError,
    status=503,
    template="Cannot verify your identity: {source} is unavailable. Try again soon.",
):
    """The source of identities is unavailable, and nothing is granted."""

    source: str
    retry_after: int = 10


@define(slots=False, repr=False)
class NameTaken(PypidError, status=409):
    """A user or a group of this name already exists."""

    name: str
    why: str = ""

    def text(self) -> str:
        why = f": {self.why}" if self.why else ""
        return f"The name {shortened(self.name)!r} is taken{why}. Choose another one."


@define(slots=False, repr=False)
class ChangedElsewhere(PypidError, status=409):
    """The object is defined in the configuration or a directory. `what`: "the user 'alice'"."""

    what: str
    where: str

    def text(self) -> str:
        return f"{self.what[:1].upper()}{self.what[1:]} cannot be changed here: {self.where}."


@define(slots=False, repr=False)
class NotConfigured(ErrorWithReason, status=501):
    """The way in which this server was configured or started excludes the action."""


@define(slots=False, repr=False)
class LastAdmin(
    PypidError,
    status=409,
    template=(
        "{name!r} is the last administrator who can log in. Make another user an "
        "administrator first."
    ),
):
    """The change would leave no administrator of this index."""

    name: str


@define(slots=False, repr=False)
class NotByToken(
    PypidError,
    status=403,
    template="A token cannot be used for this. Log in with a user name and a password.",
):
    """The action is not allowed with any token."""


@define(slots=False, repr=False)
class NoSuchUser(
    PypidError,
    status=404,
    template=(
        "There is no account {name!r} in the accounts database. (Users of the configuration "
        "or a directory are changed there.)"
    ),
):
    """No account of this name is in the accounts database."""

    name: str


@define(slots=False, repr=False)
class NoSuchGroup(
    PypidError,
    status=404,
    template=(
        "There is no group {name!r} in the accounts database. (Groups of the configuration or "
        "a directory are changed there.)"
    ),
):
    """No group of this name is in the accounts database."""

    name: str


@define(slots=False, repr=False)
class NoSuchToken(PypidError, status=404, template="There is no token {id!r}."):
    """No token has this id."""

    id: str


@define(slots=False, repr=False)
class MintRefused(PypidError, status=422, template="{description}"):
    """Trusted publishing issues no token. `code` is the public index's machine-readable reason."""

    code: str
    description: str


@define(slots=False, repr=False)
class Forbidden(PypidError, status=403):
    """A known user lacks the right to do this."""

    user: str
    action: str
    project: str | None = None
    token: bool = False
    """Whether the token is limited, and not its user."""
    index: str = ""
    advice: str = "Ask an administrator for access."
    """What the user can do."""

    def text(self) -> str:
        places = {"project": self.project, "index": self.index}
        named = [f"the {kind} {name!r}" for kind, name in places.items() if name]
        where = f" in {' of '.join(named)}" if named else ""
        if self.token and self.action == MANAGE_RIGHTS:
            return (
                f"A token cannot {self.action}{where}, unless it may administer the server. Send "
                "your user name and password, or use the page of the project."
            )
        if self.token:
            return (
                f"This token of {self.user!r} may not {self.action}{where}: create one with a "
                "scope that allows it."
            )
        return f"The user {self.user!r} may not {self.action}{where}. {self.advice}"


@define(slots=False, repr=False)
class OtherSite(PypidError, status=403):
    """A browser sent the request for a page of another site, perhaps with a stored password.

    `origin`: the site of that page; `host`: the host that the request names. A proxy that changes
    the Host header causes this for local pages.
    """

    origin: str = ""
    host: str = ""

    def text(self) -> str:
        refused = (
            "The change was refused because a page of another site requested it (see the Origin "
            "header)."
        )
        if "://" not in self.origin or not self.host:
            return refused
        return (
            f"{refused}\nThat page belongs to {self.origin}, and the request named the host "
            f"{self.host}. If both are this index, set [server] public_url to the address that "
            "people use, or configure the proxy to pass on the Host header (nginx: "
            "proxy_set_header Host $http_host)."
        )


@define(slots=False, repr=False)
class TooLarge(PypidError, status=413):
    """A body exceeds its limit. `limit` in bytes; `key`: the setting that changes it, if any."""

    limit: int
    key: str | None = None

    def text(self) -> str:
        advice = f" An administrator can raise {self.key}." if self.key else ""
        return f"The request is larger than the allowed {self.limit} bytes.{advice}"


@define(slots=False, repr=False)
class TooSlow(
    PypidError,
    status=408,
    template=(
        "The request did not arrive within {seconds:g} s. Use a faster connection, or send "
        "less at once."
    ),
):
    """The body of a request did not arrive in time."""

    seconds: float


@define(slots=False, repr=False)
class Busy(PypidError, status=503, template="{reason} Try again in {retry_after} seconds."):
    """Too many requests at once, or another process is doing the same. `retry_after` in seconds."""

    reason: str
    retry_after: int = 5


@define(slots=False, repr=False)
class StorageDown(
    PypidError,
    status=503,
    template=(
        "The storage of this index is unavailable: {reason} An administrator finds the cause "
        "in the log."
    ),
):
    """The storage is unavailable. `reason` is for clients: no path, no secret."""

    reason: str
    retry_after: int = 30


@define(slots=False, repr=False)
class Archived(
    StorageDown,
    template=(
        "This file is archived. A restore was requested and takes several hours (GLACIER: 3 "
        "to 5, DEEP_ARCHIVE: 12). Try again later."
    ),
):
    """The file is in an archive storage class and has to be restored, which takes hours.

    `retry_after` is short because pip waits that long, five times over, before it shows the text.
    """

    reason: str = "it has to be restored first."
    retry_after: int = 60


@define(slots=False, repr=False)
class StorageInUse(
    StorageDown,
    template=(
        "Another pypid ({reason}) writes to the storage of this index, so nothing was "
        "published or changed. Try again when that one has stopped; an administrator can stop"
        " it, or have both share a catalog."
    ),
):
    """Another pypid holds the lease of the storage. `reason` is that pypid's name."""

    retry_after: int = 10


@define(slots=False, repr=False)
class CatalogDown(
    StorageDown,
    template=(
        "The catalog of this index is unavailable: {reason} An administrator finds the cause "
        "in the log."
    ),
):
    """The shared catalog is unavailable. `reason` is for clients: no path, no secret."""

    reason: str = "nothing is certain until it is available."
    retry_after: int = 10


@define(slots=False, repr=False)
class StorageFull(
    PypidError,
    status=507,
    template=(
        "There is no space left in the {where} of this index. Nothing was stored. Delete "
        "files or purge the cache, then try again."
    ),
):
    """No space is left. Nothing was stored."""

    where: str
    retry_after: int = 60


@define(slots=False, repr=False)
class Missing(PypidError, status=INTERNAL, template="Nothing is stored under '{key}'."):
    """No blob has this key (raised by `Blobs`)."""

    key: str


@define(slots=False, repr=False)
class Exists(PypidError, status=INTERNAL, template="Something is already stored under '{key}'."):
    """A blob has this key already (raised by `Blobs` unless `replace` is requested)."""

    key: str


@define(slots=False, repr=False)
class Unreadable(PypidError, status=INTERNAL, template="{what} cannot be read: {reason}"):
    """A stored document cannot be read: it is torn, or of another version."""

    what: str
    reason: str


@define(slots=False, repr=False)
class UpstreamDown(
    PypidError, status=503, template="The upstream index cannot be reached: {reason}"
):
    """The upstream index is unavailable. `reason` is for clients: no URL, no
    secret.

    `unreachable`: there was no connection, so other requests would fail, too. `retry_after`
    (seconds) only if upstream sent one: pip waits that long five times, and without it retries for
    some seconds. `status`: the HTTP error that upstream answered, if any. `secondary`: another
    index of the configuration can still answer for other names.
    """

    reason: str
    timed_out: bool = False
    retry_after: int | None = None
    unreachable: bool = False
    status: int | None = None
    secondary: bool = False

    @property
    def is_transient(self) -> bool:
        """Whether the same request is likely to succeed soon."""
        return self.status in (500, 502, 503, 504)

    @property
    def is_refusal(self) -> bool:
        """Whether the server works but refuses this one request, as a firewall does with 403."""
        return (
            self.status is not None
            and 400 <= self.status < 500
            and self.status not in (401, 407, 429)
        )


@define(slots=False, repr=False)
class BadListing(
    PypidError, status=502, template="The upstream index sent an invalid response: {reason}"
):
    """The upstream index answered with a listing that cannot be used."""

    reason: str


@define(slots=False, repr=False)
class AddressRefused(
    BadListing,
    template=(
        "The upstream index refers to {reason!r}, which has no public address. If its files "
        "are meant to come from there, add the host to [{section}] file_hosts."
    ),
):
    """The upstream index refers to a host that is not configured and has no public address.

    `reason` is the host and port, `section` that of the configuration.
    """

    section: str = "upstream"


@define(slots=False, repr=False)
class UnlistedHost(
    BadListing,
    template=(
        "The upstream index keeps this at {reason!r}, and it cannot be verified by a hash. If"
        " the host is trusted, add it to [{section}] file_hosts."
    ),
):
    """The upstream index refers to a host that is not configured for data that cannot be verified.
    `reason` is the host and port, `section` that of the configuration.
    """

    section: str = "upstream"


@define(slots=False, repr=False)
class NotThere(
    PypidError, status=404, template="The upstream index does not have {filename!r} any more."
):
    """The upstream index does not have the file (any more)."""

    filename: str


@define(slots=False, repr=False)
class WrongBytes(PypidError, status=502):
    """The bytes from upstream do not match its listing. None of them were stored."""

    filename: str
    reason: str

    def text(self) -> str:
        advice = (
            "Nothing was stored. Try again; if the error persists, the upstream index or a proxy "
            "in between is faulty."
        )
        return (
            f"The upstream index sent different content for {shortened(self.filename)!r} than it "
            f"lists: {self.reason} {advice}"
        )


@define(slots=False, repr=False)
class Loop(
    PypidError,
    status=508,
    template=(
        "Proxy loop: [upstream] url leads back to this index, perhaps through another pypid. "
        "Correct the url."
    ),
):
    """The request has come through this pypid before."""


@define(slots=False, repr=False)
class Unresolvable(ErrorWithReason, status=INTERNAL):
    """No releases meet these requirements together. `reason` is the resolver's."""


@define(slots=False, repr=False)
class NotAvailable(PypidError, status=501, template="{what} is not part of this version of pypid."):
    """This version of pypid does not have the capability."""

    what: str


def shortened(text: str, most: int = 120) -> str:
    """Return `text` cut to `most` characters, for use in a message."""
    return text if len(text) <= most else text[:most] + "..."
