"""API tokens of users and their machines, below ``/api/tokens``. A secret is in one answer only:
the one to the request that created it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Annotated, Literal, TypedDict

import msgspec
from msgspec.structs import asdict

from pypid.core.accounts.rights import Token
from pypid.core.configuration.values import GLOB, parse_duration
from pypid.core.errors import (
    BadRequest,
    Forbidden,
    NoSuchToken,
    NotAvailable,
    NotByToken,
    shortened,
)
from pypid.core.packaging.names import WILD
from pypid.core.permissions import Action, Identity, Scope
from pypid.core.simple_api.listed_files import utc_text
from pypid.web.app.app import App
from pypid.web.app.audit import recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import SOMEBODY, Described, UtcTime, route
from pypid.web.http.request import Parameter, flag, names, parameters
from pypid.web.http.small_responses import read_json, send_json

ACTIONS = {
    "read": Action.READ,
    "publish": Action.WRITE,
    "overwrite": Action.OVERWRITE,
    "delete": Action.DELETE,
    "fetch": Action.FETCH,
    "admin": Action.ADMIN,
    "metrics": Action.METRICS,
}
"""What a token can allow, by the words of the API."""
MOST = 200
"""Most usable tokens of one user."""
MOST_A_DAY = 500
"""Most tokens created for one user in a day: those revoked at once are stored for a month, too."""
MOST_GLOBS = 100
MOST_WILD = 50
"""Most ``*``, ``?`` and ``[`` in the globs of a token: what is compiled of each takes 0.1 ms, on
the reactor thread.
"""
ALL = ("*",)

Glob = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]


Word = Annotated[str, msgspec.Meta(extra_json_schema={"enum": list(ACTIONS)})]
"""A word of `ACTIONS`. Others are refused by `scope_of`, which lists the valid ones."""


class NewToken(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a request to create a token. `expires`: a duration (30d), a time with its offset
    from UTC, or null for never.
    """

    name: Annotated[str, msgspec.Meta(min_length=1, max_length=100)]
    actions: Annotated[list[Word], msgspec.Meta(min_length=1, max_length=len(ACTIONS))]
    projects: Annotated[list[Glob], msgspec.Meta(min_length=1, max_length=MOST_GLOBS)] = (
        msgspec.field(default_factory=lambda: list(ALL))
    )
    expires: str | None = None
    user: str | None = None


State = Literal["usable", "expired", "revoked"]
ASKS = (
    Parameter("user", "The tokens of this user; for administrators."),
    Parameter(
        "all",
        "The tokens of all users, if given alone or with ``yes``; for administrators.",
        {"enum": ["", "yes", "no"]},
    ),
)


class TokenDocument(msgspec.Struct):
    """A token without its secret. `publisher`: whether it was made for a workflow (trusted
    publishing).
    """

    id: str
    name: str
    user: str
    actions: list[str]
    projects: list[str]
    publisher: bool
    state: State
    created: UtcTime
    expires: UtcTime | None
    used: UtcTime | None
    used_from: str | None
    revoked: UtcTime | None


class MadeToken(TokenDocument, kw_only=True):
    """A new token with its secret, which is in no other answer."""

    secret: str


class Tokens(TypedDict):
    """The tokens of one user, or of all."""

    tokens: list[TokenDocument]


@route(
    "GET",
    "/api/tokens",
    action=SOMEBODY,
    describe=Described(Tokens, asks=ASKS, refuses=(Forbidden, NotAvailable)),
)
async def tokens(ctx: RequestContext) -> None:
    """List tokens. Users see their own; administrators can select those of a user (``?user=alice``)
    or all (``?all``). A token sees only itself.
    """
    query = parameters(ctx.request, *names(ASKS))
    is_admin = ctx.is_admin
    if query and not is_admin:
        raise Forbidden(str(ctx.identity.user), "list the tokens of others")
    everybody = flag(query, "all")
    if "user" in query and everybody:
        raise BadRequest("Say either user or all.")
    if everybody:
        found = await ctx.app.accounts.tokens()
    else:
        found = await ctx.app.accounts.tokens(query.get("user", ctx.identity.user))
    if ctx.identity.scope is not None and not is_admin:
        found = [token for token in found if token.id == ctx.identity.token]
    now = ctx.app.world.now()
    send_json(ctx.request, Tokens(tokens=[document_of(token, now) for token in found]))


@route(
    "POST",
    "/api/tokens",
    action=SOMEBODY,
    describe=Described(
        MadeToken, status=201, takes=NewToken, refuses=(NotByToken, Forbidden, NotAvailable)
    ),
)
async def make(ctx: RequestContext) -> None:
    """Create a token for oneself, or as an administrator for another user. A token cannot create
    tokens.
    """
    demand_no_token(ctx.identity)
    secret, token = await made(ctx, await read_json(ctx.request, NewToken))
    send_json(
        ctx.request,
        MadeToken(**asdict(document_of(token, ctx.app.world.now())), secret=secret),
        201,
    )


def demand_no_token(who: Identity) -> str:
    """Return the user, who must have authenticated without a token. Raises `NotByToken`."""
    if who.scope is not None or who.user is None:
        raise NotByToken()
    return who.user


async def made(ctx: RequestContext, wanted: NewToken) -> tuple[str, Token]:
    """Create the token; return its secret, which cannot be retrieved again, and the token. Raises
    `NotByToken`, `Forbidden`, `BadRequest`.
    """
    own = demand_no_token(ctx.identity)
    user = own if wanted.user is None else wanted.user
    if user != own and not ctx.is_admin:
        raise Forbidden(own, "make tokens for others")
    now = ctx.app.world.now()
    scope, expires = scope_of(wanted.actions, wanted.projects), expiry_of(wanted.expires, now)
    await _demand_may(ctx.app, user, scope)
    await _demand_few(ctx.app, user, now)
    secret, token = ctx.app.known.new_token(
        name=_label(wanted.name), user=user, scope=scope, now=now, expires=expires
    )
    details = {
        "user": user,
        "name": token.name,
        "actions": " ".join(words_of(scope.actions)),
        "projects": " ".join(scope.projects),
        "expires": "never" if expires is None else utc_text(expires),
    }
    await recorded(
        ctx, "token create", token.id, ctx.app.accounts.add_token(token), lambda _: details
    )
    return secret, token


@route(
    "DELETE",
    "/api/tokens/<id>",
    action=SOMEBODY,
    describe=Described(TokenDocument, refuses=(NoSuchToken, NotAvailable)),
)
async def revoke(ctx: RequestContext, id: str) -> None:
    """Revoke a token, which is no longer accepted. A client with only a token may revoke that
    one.
    """
    send_json(ctx.request, document_of(await revoked(ctx, id), ctx.app.world.now()))


async def revoked(ctx: RequestContext, id: str) -> Token:
    """Revoke the token; return what is left of it. Raises `NoSuchToken`, also for one that the
    client may not revoke.
    """
    token = next((token for token in await ctx.app.accounts.tokens() if token.id == id), None)
    if token is None or not _is_theirs(ctx, token):
        raise NoSuchToken(id)
    details = {"user": token.user, "name": token.name}
    return await recorded(
        ctx, "token delete", id, ctx.app.accounts.revoke_token(id), lambda _: details
    )


def _is_theirs(ctx: RequestContext, token: Token) -> bool:
    if ctx.is_admin:
        return True
    if ctx.identity.scope is not None:
        return ctx.identity.token == token.id
    return ctx.identity.user == token.user and not token.publisher


# --- request parameters ---------------------------------------------------------------------------


def scope_of(actions: Sequence[str], projects: Sequence[str]) -> Scope:
    """Return the scope of these words and globs. Raises `BadRequest`, which lists the valid
    words.
    """
    unknown = [word for word in actions if word not in ACTIONS]
    if unknown:
        raise BadRequest(
            f"{shortened(unknown[0])!r} is no action of a token; there are: {', '.join(ACTIONS)}."
        )
    globs: list[str] = []
    for glob in projects:
        try:
            globs.append(GLOB.parse(glob))
        except ValueError:
            raise BadRequest(
                f"{shortened(glob)!r} cannot be the name of a project, or a glob: write "
                f"{GLOB.allowed}."
            ) from None
    if sum(glob.count(wild) for glob in globs for wild in WILD) > MOST_WILD:
        raise BadRequest(
            f"The globs of a token have at most {MOST_WILD} of * ? and [ in all: use fewer, or "
            f"write names."
        )
    if "admin" in actions and tuple(globs) != ALL:
        raise BadRequest(
            "'admin' concerns the whole index, not some projects: leave projects out, or leave "
            "admin out."
        )
    found = frozenset(ACTIONS[word] for word in actions)
    return Scope(found, ALL if "*" in globs else tuple(dict.fromkeys(globs)))


def expiry_of(text: str | None, now: datetime) -> datetime | None:
    """Return when a token expires: after a duration (``30d``), at a time (ISO 8601, with its
    offset), or never (None).

    Raises `BadRequest`, also for a time in the past.
    """
    if text is None:
        return None
    try:
        moment = now + parse_duration(text)
    except ValueError:
        moment = _moment(text)
    if moment <= now:
        raise BadRequest("expires is past already: give a time to come, 30d for example.")
    return moment


def _moment(text: str) -> datetime:
    try:
        moment = datetime.fromisoformat(text)
        if moment.tzinfo is not None:
            return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        pass
    raise BadRequest(
        "expires is a duration (30d, 12h), a moment with its offset (2027-01-31T12:00:00Z), or "
        "left out for never."
    )


def _label(text: str) -> str:
    if not text.isprintable() or not text.strip():
        raise BadRequest(
            "The name of a token is any text that can be printed: what it is for, and where it is "
            "kept."
        )
    return text.strip()


async def _demand_may(app: App, user: str, scope: Scope) -> None:
    """Raise unless `user` may, in some index, do all that the token shall do. (The rights are
    checked again at each use.)
    """
    whose = await app.known.find(user)
    if whose is None:
        raise BadRequest(
            f"No user can log in as {shortened(user)!r}, so no token can be made for that user. "
            "Create the user first: `pypid user create NAME`."
        )
    lacking = [
        word
        for word, action in ACTIONS.items()
        if action in scope.actions and not app.may_somewhere(whose, action)
    ]
    if lacking:
        verb = ACTIONS[lacking[0]].value
        raise Forbidden(user, f"{verb}, so no token of that user may")


async def _demand_few(app: App, user: str, now: datetime) -> None:
    made = await app.accounts.tokens(user)
    usable = [token for token in made if state_of(token, now) == "usable"]
    if len(usable) >= MOST:
        raise BadRequest(
            f"{user} has {len(usable)} tokens already. Revoke those that are not used (see used)."
        )
    lately = [token for token in made if now - token.created < timedelta(days=1)]
    if len(lately) >= MOST_A_DAY:
        raise BadRequest(
            f"{len(lately)} tokens of {user} were made within a day. Use one of them, or try "
            f"again tomorrow."
        )


# --- in JSON --------------------------------------------------------------------------------------


def words_of(actions: Iterable[Action]) -> list[str]:
    """Return the API's words for the actions, in its order."""
    wanted = frozenset(actions)
    return [word for word, action in ACTIONS.items() if action in wanted]


def state_of(token: Token, now: datetime) -> State:
    """Return the state of a token: ``usable``, ``expired`` or ``revoked``."""
    if token.revoked is not None:
        return "revoked"
    return "expired" if token.expires is not None and token.expires <= now else "usable"


def document_of(token: Token, now: datetime) -> TokenDocument:
    """Return the document of a token, without its digest."""
    return TokenDocument(
        id=token.id,
        name=token.name,
        user=token.user,
        actions=words_of(token.scope.actions),
        projects=list(token.scope.projects),
        publisher=token.publisher,
        state=state_of(token, now),
        created=token.created,
        expires=token.expires,
        used=token.used,
        used_from=token.used_from or None,
        revoked=token.revoked,
    )
