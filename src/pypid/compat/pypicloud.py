"""The HTTP API of pypicloud, route by route, over the same app, guard and rules as all other
routes.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache, partial
from typing import Annotated, Any, TypedDict, TypeVar

import msgspec
from attrs import evolve
from msgspec import Meta
from msgspec.structs import fields, replace
from werkzeug.exceptions import MethodNotAllowed, NotFound

from pypid.core.accounts import acl
from pypid.core.accounts.acl import KEPT_CLOSED
from pypid.core.accounts.rights import Whom
from pypid.core.accounts.sessions import csrf_token
from pypid.core.errors import (
    AlreadyExists,
    AlreadyThere,
    BadListing,
    BadRequest,
    Busy,
    ChangedElsewhere,
    LoginRefused,
    Loop,
    NameTaken,
    NameUsedUp,
    NoSuchFile,
    NoSuchProject,
    NoSuchUser,
    NotAvailable,
    NotByToken,
    NotConfigured,
    NotYetKnown,
    RegistrationClosed,
    UploadForbidden,
    UploadRejected,
    UpstreamDown,
    WrongBytes,
    shortened,
)
from pypid.core.model import File, Project, RenderedPage, Upload
from pypid.core.packaging.names import ProjectName
from pypid.core.packaging.upload import distribution_of
from pypid.core.permissions import Action
from pypid.core.simple_api.listed_files import quoted
from pypid.core.simple_api.render import finished, render_every_file
from pypid.flow import shielded
from pypid.index.local.publish import PublishOutcome
from pypid.index.views import UpstreamPermission
from pypid.web.api.accounts import (
    WELCOME,
    Applicant,
    Login,
    Welcome,
    begin,
    end,
    enrolled,
    invitation_of,
    mode_of,
)
from pypid.web.api.projects import ChangedProject, delete_files
from pypid.web.app.accounts import NewSecret, changeable_account, is_password, store_password
from pypid.web.app.app import App, Configured
from pypid.web.app.audit import recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import ANYBODY, FILE_BYTES, SOMEBODY, Described, Route, route
from pypid.web.app.visibility import FEW_STORED
from pypid.web.http.cookies import credential_of_cookie, end_session
from pypid.web.http.headers import Encoding, ErrorFormat, choose_error_format
from pypid.web.http.request import Parameter, Request, parameters
from pypid.web.http.request_body import read_small
from pypid.web.http.response_body import write
from pypid.web.http.responses import header_of, redirect, send_page, set_head
from pypid.web.http.small_responses import LARGEST, send, send_json
from pypid.web.http.upload_form import Limits, read_form, refuse_early_form
from pypid.web.installers.files import send_named
from pypid.web.installers.simple import format_of, send_project
from pypid.web.installers.uploads import Published, publish, receive, say, take, upload_spool

# The arguments of pypicloud's API: the fields of a form, or the keys of a JSON object, whichever a
# request carries.
#
# Unlike pypicloud, arguments in the query are not accepted: passwords in a URL end up in logs.

S = TypeVar("S", bound=msgspec.Struct)

LIMITS = Limits(content=0, text=LARGEST, total=LARGEST, fields=50, urlencoded=LARGEST)
_FORMS = frozenset({"application/x-www-form-urlencoded", "multipart/form-data"})


async def arguments(request: Request, kind: type[S]) -> S:
    """Return the arguments. Raises `TooLarge`, and `BadRequest` with the name of a missing or
    unknown one.
    """
    content_type = header_of(request, "content-type") or ""
    if content_type.partition(";")[0].strip().lower() in _FORMS:
        form = await read_form(request.body, content_type, limits=LIMITS, spool=None)
        received: Any = {name: values[-1] for name, values in form.fields.items()}
    else:
        received = _object(await read_small(request.body, LARGEST))
    known = {field.encode_name for field in fields(kind)}
    if unknown := sorted(received.keys() - known):
        raise BadRequest(
            f"Unknown argument {shortened(unknown[0])!r}; known: {', '.join(sorted(known))}"
        )
    for field in fields(kind):
        if field.required and received.get(field.encode_name) is None:
            raise BadRequest(f"Missing argument {field.encode_name!r}")
    try:
        return msgspec.convert(received, kind, strict=False)
    except msgspec.ValidationError as error:
        raise BadRequest(f"The arguments are not what is expected here: {error}") from None


def _object(data: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(data or b"{}", type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        raise BadRequest(
            "Send the arguments as a form (application/x-www-form-urlencoded), or as a JSON object."
        ) from None


# pypicloud's ``/api/user/`` and ``/acct/``: registration, login, logout, and one's own password.

LONGEST = 100
"""Most characters of a password in a registration, as in pypicloud."""


class NewAccount(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a registration. `captcha` and `token`: if this index requires a captcha, or
    an invitation.
    """

    password: str
    captcha: str | None = None
    token: str | None = None


class NamedAccount(NewAccount, kw_only=True, forbid_unknown_fields=True):
    """The arguments of a registration at an address without the user's name."""

    username: str


class OwnPassword(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a password change."""

    old_password: str
    new_password: str


class PypicloudLogin(msgspec.Struct, forbid_unknown_fields=True):
    """The arguments of a login."""

    username: str
    password: str


class LoggedIn(TypedDict):
    """Where to go next, and the value to send in ``X-CSRF-Token`` with the cookie, in all requests
    that change something.
    """

    next: str
    csrf_token: str


# --- registration ---------------------------------------------------------------------------------


@route(
    "PUT",
    "/api/user/<name>",
    action=ANYBODY,
    entrance=True,
    describe=Described(Welcome, takes=NewAccount, refuses=(RegistrationClosed, NotAvailable)),
)
async def register(ctx: RequestContext, name: str) -> None:
    """Register an account, if ``[access] registration`` allows it."""
    mode_of(ctx.app)
    wanted = await arguments(ctx.request, NewAccount)
    await _register(ctx, name, wanted)


@route("PUT", "/acct/login", action=ANYBODY, entrance=True)
async def register_by_form(ctx: RequestContext) -> None:
    """Register an account, with the name among the arguments."""
    mode_of(ctx.app)
    wanted = await arguments(ctx.request, NamedAccount)
    await _register(ctx, wanted.username, wanted)


async def _register(ctx: RequestContext, name: str, wanted: NewAccount) -> None:
    """Register the account. As in pypicloud, a name that is taken is answered with 400."""
    applicant = Applicant(
        user=name.strip(), password=wanted.password, captcha=wanted.captcha, token=wanted.token
    )
    invitation = invitation_of(ctx.app, wanted.token)
    if len(wanted.password) > LONGEST:
        raise BadRequest(f"Password cannot exceed {LONGEST} characters")
    try:
        account = await enrolled(ctx, applicant, invitation)
    except NameTaken as error:
        raise BadRequest(str(error)) from None
    document: Welcome = {
        "user": account.name,
        "status": account.status,
        "message": WELCOME[account.status],
    }
    send_json(ctx.request, document)


# --- one's own password ---------------------------------------------------------------------------


@route(
    "POST",
    "/api/user/password",
    action=SOMEBODY,
    describe=Described(
        NewSecret,
        takes=OwnPassword,
        refuses=(
            LoginRefused,
            NotByToken,
            NoSuchUser,
            ChangedElsewhere,
            NotConfigured,
            NotAvailable,
        ),
    ),
)
async def set_password(ctx: RequestContext) -> None:
    """Change one's own password. The old one is required."""
    if ctx.identity.scope is not None or ctx.identity.user is None:
        raise NotByToken()
    wanted = await arguments(ctx.request, OwnPassword)
    if not await is_password(ctx, ctx.identity.user, wanted.old_password):
        raise LoginRefused("old_password is not your current password: nothing was changed.")
    demand_changing(ctx.app)
    await store_password(
        ctx, await changeable_account(ctx.app, ctx.identity.user), wanted.new_password
    )
    send_json(ctx.request, NewSecret(ctx.identity.user))


def demand_changing(app: App) -> None:
    """Raise `NotConfigured` if users are in the configuration only, where pypicloud failed."""
    if not app.known.configured().accounts_log_in:
        raise NotConfigured(
            "Users and rights of this index are defined in its configuration: change [users], "
            "[groups] and [projects] there, and reload pypid (SIGHUP). To change them here, set "
            "[access] backend = config sql and restart pypid."
        )


# --- login and logout -----------------------------------------------------------------------------


@route("POST", "/acct/login", action=ANYBODY, entrance=True)
async def log_in(ctx: RequestContext) -> None:
    """Begin a session."""
    wanted = await arguments(ctx.request, PypicloudLogin)
    _, secret, _ = await begin(ctx, Login(user=wanted.username, password=wanted.password))
    if choose_error_format(header_of(ctx.request, "accept")) is ErrorFormat.HTML:
        return _go_home(ctx.request)
    document: LoggedIn = {
        "next": f"{ctx.base_url or ''}/",
        "csrf_token": csrf_token(secret),
    }
    return send_json(ctx.request, document)


@route("POST", "/acct/logout", action=ANYBODY)
async def log_out(ctx: RequestContext) -> None:
    """End the session, at once and permanently. A form of another site comes without the cookie,
    and ends none.
    """
    await end(ctx)
    if credential_of_cookie(ctx.request) is not None:
        end_session(ctx.request)
    _go_home(ctx.request)


def _go_home(request: Request) -> None:
    """Send 302, which browsers and scripts follow by GET, whatever method they used."""
    where = b"../../" if request.path.endswith(b"/") else b"../"
    head = ((b"Location", where), (b"Cache-Control", b"no-store"), (b"Content-Length", b"0"))
    set_head(request, 302, head)
    write(request, b"")


# ``POST /api/acl``: import a dump of pypicloud's users and rights, as `pypid user import` does.


class OddityDocument(TypedDict):
    """Something in a dump that could not be imported unchanged. `loss`: a user loses a right by it;
    `gain`: a user gets one that they had neither there nor here.
    """

    what: str
    done: str
    loss: bool
    gain: bool


class Import(TypedDict):
    """The result of an import: how much of the dump was new here, and what was odd about it."""

    users: int
    users_there: int
    groups: int
    members: int
    rights: int
    oddities: list[OddityDocument]


@route(
    "POST",
    "/api/acl",
    action=Action.ADMIN,
    describe=Described(
        Import, takes=acl.AclDocument, refuses=(NotByToken, NotConfigured, NotAvailable)
    ),
)
async def take_in(ctx: RequestContext) -> None:
    """Import a pypicloud dump. What is missing here is added, and existing users stay unchanged."""
    if ctx.identity.scope is not None:
        raise NotByToken()
    demand_changing(ctx.app)
    data = await read_small(ctx.request.body, acl.LARGEST)
    if not data:
        raise BadRequest("Send a dump of ppc-export: JSON, gzipped or plain.")
    taken = _without_configured(ctx.app, await ctx.app.world.thinking(acl.read_dump, data))

    def details_of(merged: acl.Merged) -> dict[str, str] | None:
        counts = {
            "users": len(merged.users),
            "groups": merged.groups,
            "members": merged.members,
            "rights": merged.rights,
        }
        return {name: str(count) for name, count in counts.items()} if merged.changed else None

    merged = await recorded(
        ctx, "user import", "pypicloud", ctx.app.accounts.merge(taken.dump), details_of
    )
    document: Import = {
        "users": len(merged.users),
        "users_there": merged.there,
        "groups": merged.groups,
        "members": merged.members,
        "rights": merged.rights,
        "oddities": [
            {"what": oddity.what, "done": oddity.done, "loss": oddity.grave, "gain": oddity.wider}
            for oddity in (*taken.oddities, *merged.oddities())
        ],
    }
    send_json(ctx.request, document)


def _without_configured(app: App, taken: acl.ParsedAcl) -> acl.ParsedAcl:
    """Return the dump without the users and groups of the configuration, which takes precedence.
    Raises `BadRequest` if a group that must be empty has members there.
    """
    configured = app.known.configured()
    users, of_users = _users_without(taken.dump, configured)
    groups, of_groups = _groups_without(taken.dump, configured)
    return acl.ParsedAcl(
        evolve(taken.dump, users=users, groups=groups), (*taken.oddities, *of_users, *of_groups)
    )


def _users_without(
    dump: acl.Dump, configured: Configured
) -> tuple[tuple[acl.DumpedPerson, ...], list[acl.Oddity]]:
    users, oddities = [], []
    for person in dump.users:
        if person.name not in configured.users:
            users.append(person)
            continue
        loses = person.admin and person.name not in configured.admins
        done = "no account is made; what the dump gives to the name holds"
        if loses:
            done += ", but for being an administrator: write the name into [access] admins"
        oddities.append(
            acl.Oddity(f"the user {person.name!r} is defined in the configuration", done, loses)
        )
    return tuple(users), oddities


def _groups_without(
    dump: acl.Dump, configured: Configured
) -> tuple[dict[str, frozenset[str]], list[acl.Oddity]]:
    groups, oddities = dict(dump.groups), []
    granted_groups = {right.name for right in dump.rights if right.whom is Whom.GROUP}
    for name in sorted((groups.keys() | granted_groups) & configured.groups):
        imported, ours = groups.pop(name, frozenset()), configured.members.get(name, frozenset())
        if name.startswith(KEPT_CLOSED) and ours and not imported:
            raise BadRequest(
                f"The group {name!r} of the configuration has members, and has to be empty: it "
                "keeps projects closed. Rename it there, reload, and try again. Nothing was done."
            )
        if ours - imported and name in granted_groups:
            oddities.append(acl.grown(name, ours - imported))
        if name not in dump.groups:
            continue
        missing = imported - ours
        done = "its members are those in the configuration"
        if missing:
            done += f"; not there: {' '.join(sorted(missing)[:20])}"
        oddities.append(
            acl.Oddity(f"the group {name!r} is defined in the configuration", done, bool(missing))
        )
    return groups, oddities


# Pages for installers that pypicloud had in addition to ``/simple/``: all files at ``/packages/``,
# a project's page at two more addresses.

NOT_PROJECTS = frozenset(
    {
        *("admin", "favicon.ico", "robots.txt", "static"),
        *("metrics", "ready", "readyz", "healthz", "livez"),
        *("at", "rss", "snapshots"),
    }
)
"""What browsers, crawlers and monitors look for at the root, where pypicloud had its style sheets,
and what pages of pypid may be called: upstream is not asked for these names, and no monitor takes a
project's page for a healthy answer.
"""

_BROWSERS_TYPE = "application/xhtml+xml"
"""A type that all browsers accept, and no installer."""


@route("GET", "/packages/", action=Action.READ)
async def every_file(ctx: RequestContext) -> None:
    """Send every stored file of every project that the user may read, on one page (``pip install
    --find-links``, buildout).
    """
    if not ctx.request.path.endswith(b"/"):
        return redirect(ctx.request, "/packages/", permanent=True, restricted=ctx.app.restricted)
    page = await ctx.app.stored_projects.page(
        "every file", await ctx.visibility(), render_every_file
    )
    return await send_page(ctx.request, page, restricted=ctx.app.restricted)


@route("GET", "/pypi/<project>/", action=Action.READ)
async def at_pypi(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project's page, as at ``/simple/<project>/``."""
    await _page(ctx, project, "/pypi/", "../../packages/")


@route("GET", "/<project>/", action=Action.READ)
async def at_the_root(ctx: RequestContext, project: ProjectName) -> None:
    """Send a project's page to installers that were given the index's own address; all other routes
    that begin so come first.

    For a browser, which mostly has a mistyped address, no upstream index is asked for the name.
    """
    others = _addresses(ctx.app.routes)
    if methods := others.get(ctx.spelling):
        raise MethodNotAllowed(sorted(methods))
    words = {ctx.spelling.lower(), project}
    if words & NOT_PROJECTS or project in others:  # /SIMPLE/ is a typing error, not a project
        raise NotFound()
    permission = ctx.upstream_permission(project)
    if _BROWSERS_TYPE in (header_of(ctx.request, "accept") or ""):
        permission = evolve(permission, refusal=NoSuchProject(project))
    await _page(ctx, project, "/", "../packages/", permission)


async def _page(
    ctx: RequestContext,
    project: ProjectName,
    below: str,
    files_url: str,
    permission: UpstreamPermission | None = None,
) -> None:
    if ctx.spelling != project or not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"{below}{project}/", permanent=True, restricted=ctx.app.restricted
        )
    return await send_project(ctx, project, format_of(ctx.request), files_url, permission)


@cache
def _addresses(routes: Iterable[Route]) -> dict[str, frozenset[str]]:
    """Return the first words of all other addresses, with the methods of those that have no more
    than that.
    """
    found: dict[str, frozenset[str]] = {}
    for each in routes:
        word, _, rest = each.path.removeprefix("/").partition("/")
        if word and not word.startswith("<"):
            methods = frozenset() if rest else each.methods
            found[word] = found.get(word, frozenset()) | methods
    return found


# pypicloud's ``/api/package/``: the stored projects, and single files downloaded, published and
# deleted; and POST requests to ``/``, ``/simple/`` and ``/pypi/``: uploads.

PREFIX = "/api/package/"
JSON = "application/json"


class Metadata(TypedDict, total=False):
    """The metadata of a file; what is not known is left out."""

    requires_python: str
    summary: str
    hash_sha256: str
    hash_md5: str
    uploader: str


class Package(TypedDict):
    """A file. `url` carries its hash; `last_modified` is when it was published, or null if that may
    not be disclosed.
    """

    name: str
    filename: str
    last_modified: int | None
    version: str
    url: str
    summary: str | None
    metadata: Metadata


class Uploaded(Package):
    """A file that was just published, and the outcome in words, which pypicloud did not send."""

    message: str


class UploadForm(TypedDict):
    """The part of the form that counts; the other parts of the upload form are allowed."""

    content: Annotated[str, Meta(extra_json_schema={"format": "binary"})]


class Packages(TypedDict):
    """The stored files of a project, newest version first, and whether the client may publish
    there.
    """

    packages: list[Package]
    write: bool


class Overview(TypedDict):
    """A project: when a file of it was last published, and the summary of its newest version."""

    name: str
    last_modified: int
    summary: str | None


class Listed(TypedDict):
    """The projects with stored files: their names, or with ``?verbose=true`` an overview of
    each.
    """

    packages: list[str | Overview]


def package_of(file: File, base: str) -> Package:
    """Return the document of a file; `base` is what its URL begins with."""
    fragment = f"#sha256={file.sha256}" if file.sha256 else ""
    return {
        "name": file.project,
        "filename": file.filename,
        "last_modified": seconds_of(file),
        "version": file.version,
        "url": f"{base}{PREFIX}{file.project}/{quoted(file.filename)}{fragment}",
        "summary": file.summary or None,
        "metadata": _metadata(file),
    }


def _metadata(file: File) -> Metadata:
    found: Metadata = {}
    if file.requires_python:
        found["requires_python"] = file.requires_python
    if file.sha256:
        found["hash_sha256"] = file.sha256
    if file.md5:
        found["hash_md5"] = file.md5
    if file.uploader:
        found["uploader"] = file.uploader
    if file.summary:
        found["summary"] = file.summary
    return found


def seconds_of(file: File) -> int | None:
    """Return when a file was published or, if upstream does not say, first seen here."""
    moment = file.uploaded or file.seen
    return None if moment is None else int(moment.timestamp())


def overview_page(projects: Sequence[Project]) -> RenderedPage:
    """Return the list for ``?verbose=true``."""
    return _package_page([_overview(project) for project in projects])


def names_page(projects: Sequence[Project]) -> RenderedPage:
    """Return the list without ``?verbose=true``: the names only."""
    return _package_page([project.name for project in projects])


def _package_page(packages: list[str | Overview]) -> RenderedPage:
    document: Listed = {"packages": packages}
    return finished(msgspec.json.encode(document), JSON)


def _overview(project: Project) -> Overview:
    last = max((seconds_of(file) or 0 for file in project.files), default=0)
    summary = next((file.summary for file in reversed(project.files) if file.summary), None)
    return {"name": project.name, "last_modified": last, "summary": summary}


FILE = PREFIX + "<project>/<filename>"
VERBOSE = Parameter(
    "verbose", "Whether to tell more than the names.", {"type": "boolean", "default": False}
)

_YES = frozenset({"true", "t", "yes", "y", "on", "1"})
_NO_OR_EMPTY = frozenset({"false", "f", "no", "n", "off", "0", ""})


# --- reading --------------------------------------------------------------------------------------


@route("GET", PREFIX, action=Action.READ, describe=Described(Listed, asks=(VERBOSE,)))
async def listed(ctx: RequestContext) -> None:
    """List the projects that have stored files."""
    if not ctx.request.path.endswith(b"/"):
        return redirect(ctx.request, PREFIX, permanent=True, restricted=ctx.app.restricted)
    verbose = _is_verbose(parameters(ctx.request, VERBOSE.name).get(VERBOSE.name, ""))
    render = overview_page if verbose else names_page
    made = await ctx.app.stored_projects.page(render.__name__, await ctx.visibility(), render)
    page = await made.in_encoding(Encoding.IDENTITY)
    return send(ctx.request, 200, page.content_type, page.body)


def _is_verbose(text: str) -> bool:
    """Return whether the word means yes. Raises `BadRequest` if it means neither yes nor no."""
    word = text.strip().lower()
    if word not in _YES | _NO_OR_EMPTY:
        raise BadRequest("verbose is true or false.")
    return word in _YES


@route(
    "GET",
    PREFIX + "<project>/",
    action=Action.READ,
    describe=Described(Packages, refuses=(NotYetKnown,)),
)
async def versions(ctx: RequestContext, project: ProjectName) -> None:
    """List the stored files of a project. The list is empty if there is no such project."""
    if not ctx.request.path.endswith(b"/"):
        return redirect(
            ctx.request, f"{PREFIX}{project}/", permanent=True, restricted=ctx.app.restricted
        )
    try:
        files = (await ctx.app.index.project(project, ctx.stored_permission)).files
    except NoSuchProject:
        files = ()
    base, write = ctx.base_url or "", ctx.may(Action.WRITE, project)
    made = partial(_packages, files, base, write=write)
    return send(
        ctx.request,
        200,
        JSON,
        made() if len(files) <= FEW_STORED else await ctx.app.world.thinking(made),
    )


def _packages(files: Sequence[File], base: str, *, write: bool) -> bytes:
    """Return the document, encoded: takes a tenth of a second for ten thousand files."""
    document: Packages = {
        "packages": [package_of(file, base) for file in reversed(files)],
        "write": write,
    }
    return msgspec.json.encode(document)


@route(
    "GET",
    FILE,
    action=Action.READ,
    describe=Described(
        FILE_BYTES, refuses=(NoSuchFile, NotYetKnown, UpstreamDown, BadListing, WrongBytes, Loop)
    ),
)
async def download(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Download a file, as below ``/packages/``: its bytes, or a redirect to them. An upstream file
    is fetched and cached.
    """
    await send_named(ctx, project, filename, ctx.upstream_permission(project))


# --- changing -------------------------------------------------------------------------------------


@route(
    "POST",
    FILE,
    action=Action.WRITE,
    describe=Described(
        Uploaded,
        form=UploadForm,
        refuses=(UploadRejected, AlreadyThere, NameUsedUp, UploadForbidden, Busy, NotYetKnown),
    ),
)
async def upload(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Publish the file in the part ``content`` of the form. The file's own name counts, not the one
    in the address.
    """
    limits = Limits(content=ctx.app.settings.max_upload)
    refuse_early_form(ctx.request.body.size, limits)
    published = await shielded(_taken(ctx, project, limits))
    await send_uploaded(ctx, published)


async def _taken(ctx: RequestContext, name: ProjectName, limits: Limits) -> Published:
    """Receive and publish the upload."""
    async with upload_spool(ctx) as spool:
        form = await receive(ctx, spool, limits)
        distribution = distribution_of(form)
        if distribution.project != name:
            raise BadRequest(
                f"{distribution.filename!r} is a file of {distribution.project!r}, and not of "
                f"{name!r}."
            )
        try:
            published = await publish(ctx, form, spool)
        except AlreadyExists as error:
            raise AlreadyThere(error.filename, error.blake2b_256) from None
        if published.outcome is PublishOutcome.UNCHANGED and not ctx.may(Action.OVERWRITE, name):
            raise AlreadyThere(distribution.filename)
        return published


@route(
    "DELETE",
    FILE,
    action=Action.DELETE,
    describe=Described(ChangedProject, refuses=(BadRequest, Busy, NotYetKnown)),
)
async def delete(ctx: RequestContext, project: ProjectName, filename: str) -> None:
    """Delete one file permanently. Needs the right to publish as well, as in pypicloud."""
    ctx.authorize(Action.WRITE, project)
    try:
        await delete_files(ctx, project, filename)
    except (NoSuchProject, NoSuchFile):
        raise BadRequest(
            f"Could not find {filename} among the files that were published here."
        ) from None


@route("POST", "/", action=Action.WRITE, below_index=True)
@route("POST", "/simple/", action=Action.WRITE, below_index=True)
@route("POST", "/pypi/", action=Action.WRITE, below_index=True)
async def publish_one(ctx: RequestContext) -> None:
    """Publish one distribution."""
    taken = await take(ctx, unsaid="file_upload")
    if isinstance(taken, Published):
        await send_uploaded(ctx, taken)
    else:
        say(ctx.request, taken)


async def send_uploaded(ctx: RequestContext, published: Published) -> None:
    """Send the document of the published file, as far as its publisher may see it."""
    file = await _published_file(ctx, published.upload)
    package = package_of(file, ctx.base_url or "")
    document: Uploaded = {**package, "message": published.words}
    send_json(ctx.request, document)


async def _published_file(ctx: RequestContext, upload: Upload) -> File:
    """Return the file as it is listed; for a client that may not read (a token to publish), no more
    than it has sent.
    """
    name, filename = upload.distribution.project, upload.distribution.filename
    sent = File(
        project=name,
        filename=filename,
        version=upload.version,
        sha256=upload.digests.sha256,
        size=upload.digests.size,
        requires_python=upload.requires_python,
        summary=upload.summary,
        md5=upload.digests.md5,
    )
    if not ctx.may(Action.READ, name):
        return sent
    listed = (await ctx.app.index.context.known(name)).file(filename)
    return sent if listed is None else replace(listed, md5=listed.md5 or sent.md5)
