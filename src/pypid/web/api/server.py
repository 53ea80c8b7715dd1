"""The JSON API of the server: status, reload, configuration, log level, audit log."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal, NotRequired, TypedDict

import msgspec

from pypid import __version__
from pypid.core.configuration.choices import Mode
from pypid.core.configuration.in_force import SettingSection, written
from pypid.core.errors import BadRequest, NotAvailable, NotConfigured
from pypid.core.permissions import Action
from pypid.core.simple_api.listed_files import utc_text
from pypid.flow.derived import ReloadOutcome
from pypid.web.api.health import condition_of
from pypid.web.app.app import LOG_LEVEL, App, LogLevelControl
from pypid.web.app.audit import audit_action, recorded
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import Described, Moment, route
from pypid.web.http.request import LARGEST_SERIAL, Parameter, names, number, parameters
from pypid.web.http.small_responses import read_json, send_json


class ScanDocument(TypedDict):
    """The progress of a scan of the storage."""

    objects: int
    projects: int


class AdvisoriesDocument(TypedDict):
    """The sources of ``[advisories]``: when all were last read without an error, and why which key
    could not be read the last time ("": all could, or were not read yet).
    """

    source: str
    loaded: Moment | None
    failure: str


class StatusDocument(TypedDict):
    """The running server. `configuration`: the file it was started with; `access`, `cache` and
    `storage`: whether this part works; `advisories` is missing without a source of them; the other
    fields are those of ``/health``.
    """

    version: str
    url: str
    configuration: str
    since: Moment
    pid: int
    ready: bool
    access: bool
    cache: bool
    storage: bool
    advisories: NotRequired[AdvisoriesDocument]
    complete: bool
    comparing: NotRequired[ScanDocument]
    differs: NotRequired[list[str]]
    starting: NotRequired[bool]
    stopping: NotRequired[bool]


@route("GET", "/api/status", action=Action.ADMIN, describe=Described(StatusDocument))
async def status(ctx: RequestContext) -> None:
    """Return the version, the address, the start time and the condition of the parts."""
    send_json(ctx.request, status_of(ctx.app))


def status_of(app: App) -> dict[str, object]:
    """Return the status of this process; see `StatusDocument`."""
    report: dict[str, object] = {
        "version": __version__,
        "url": app.settings.address,
        "configuration": app.settings.configuration_name,
        "since": utc_text(app.since),
        "pid": os.getpid(),
        **condition_of(app),
    }
    advisories = app.advisories
    if advisories.is_configured:
        loaded = None if advisories.loaded is None else utc_text(advisories.loaded)
        report["advisories"] = AdvisoriesDocument(
            source=advisories.source, loaded=loaded, failure=advisories.failure
        )
    return report


@route(
    "POST",
    "/api/reload",
    action=Action.ADMIN,
    describe=Described(ReloadOutcome, refuses=(BadRequest,)),
)
async def reload(ctx: RequestContext) -> None:
    """Read the certificate, the users and the access rules again, as SIGHUP does. Only the control
    socket takes this request.
    """
    if ctx.app.reload is None:
        raise BadRequest(
            "A reload is requested on the machine of pypid: run `pypid reload` there, or send "
            "SIGHUP to the process."
        )
    send_json(ctx.request, await ctx.app.reload())


# Documents of the JSON API about the server: the configuration in force, and upstream indexes.


class KeyDocument(TypedDict):
    """A key of the configuration. `value` is ``(set)`` for a secret; `origin`: a file and line, a
    variable, or ``default``.

    `takes_effect` by a ``reload`` or a ``restart``; `waits`: the file has another value by now,
    which waits for a restart.
    """

    key: str
    value: str
    origin: str
    takes_effect: str
    waits: bool


class SectionDocument(TypedDict):
    """A section of the configuration."""

    section: str
    keys: list[KeyDocument]


class ConfigurationDocument(TypedDict):
    """The configuration in force. `text` is what ``pypid check-config`` prints."""

    text: str
    sections: list[SectionDocument]


class OutageDocument(TypedDict):
    """An outage of upstream: since when it was noticed, and the error."""

    since: Moment | None
    error: str


class UpstreamFacts(TypedDict):
    """The state of one upstream: the URLs of its indexes, and its cached files. `outage` is null if
    it answered the last request.
    """

    indexes: list[str]
    outage: OutageDocument | None
    ttl: str
    cooldown: str
    kept: int | None
    kept_size: int | None


class NamedUpstreamDocument(UpstreamFacts):
    """A further upstream (``[upstream:<name>]``), and the names that it is for (`only`)."""

    name: str
    only: list[str]


class UpstreamDocument(UpstreamFacts):
    """The settings in force for upstream projects. `outage` is null if upstream answered the last
    request.

    `ttl` and `cooldown` are spelled as in the configuration; `limit`, in bytes, is of the caches of
    all upstreams, or null. `kept` and `kept_size` are without those of `upstreams`. `order`: the
    upstreams that the default index asks.
    """

    mode: Mode
    reserved: list[str]
    allow: list[str]
    deny: list[str]
    blend: list[str]
    limit: int | None
    upstreams: list[NamedUpstreamDocument]
    order: list[str]


# The configuration in force: ``/api/configuration``.


@route("GET", "/api/configuration", action=Action.ADMIN, describe=Described(ConfigurationDocument))
async def configuration(ctx: RequestContext) -> None:
    """Return the configuration in force, without secrets: each value with its origin."""
    send_json(ctx.request, await ctx.app.world.thinking(_document, await setting_sections(ctx.app)))


async def setting_sections(app: App) -> Sequence[SettingSection]:
    """Return the sections of the configuration in force."""
    return await app.world.thinking(app.configuration)


def _document(sections: Sequence[SettingSection]) -> ConfigurationDocument:
    def keys(section: SettingSection) -> list[KeyDocument]:
        return [
            {
                "key": line.key,
                "value": line.value,
                "origin": line.origin,
                "takes_effect": "reload" if line.by_reload else "restart",
                "waits": line.waits,
            }
            for line in section.lines
        ]

    return {
        "text": written(sections),
        "sections": [{"section": section.section, "keys": keys(section)} for section in sections],
    }


# The log level, changed while pypid runs: ``/api/log-level``.

Level = Literal["debug", "info", "warn", "error", "critical", "default"]


class LogLevel(TypedDict):
    """The log level in force, and the one of the configuration file."""

    level: str
    configured: str


class WantedLevel(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change. ``default`` is the level of the configuration file."""

    level: Level


@route(
    "GET",
    "/api/log-level",
    action=Action.ADMIN,
    describe=Described(LogLevel, refuses=(NotConfigured,)),
)
async def log_level(ctx: RequestContext) -> None:
    """Return the log level in force and the configured one."""
    send_json(ctx.request, _level_document(_control_of(ctx.app)))


@route(
    "PUT",
    "/api/log-level",
    action=Action.ADMIN,
    describe=Described(LogLevel, takes=WantedLevel, refuses=(NotConfigured,)),
)
async def set_log_level(ctx: RequestContext) -> None:
    """Set the log level of all workers, until pypid stops or the configuration file says another
    one.
    """
    send_json(ctx.request, await changed(ctx, (await read_json(ctx.request, WantedLevel)).level))


async def changed(ctx: RequestContext, level: Level) -> LogLevel:
    """Set the log level of all workers; return the level in force and the configured one."""
    log_level_control = _control_of(ctx.app)
    was = log_level_control.in_force

    async def change() -> LogLevel:
        ctx.app.siblings.tell({"kind": LOG_LEVEL, "level": None if level == "default" else level})
        return _level_document(log_level_control)

    return await recorded(ctx, "log-level", level, change(), lambda _: {"was": was})


def _control_of(app: App) -> LogLevelControl:
    if app.log_level_control is None:
        raise NotConfigured(
            "twistd writes the log of this pypid (--syslog or --logger), so its level cannot be "
            "changed here. Start pypid without these options, and collect its standard output or "
            "its --logfile."
        )
    return app.log_level_control


def _level_document(log_level_control: LogLevelControl) -> LogLevel:
    return {"level": log_level_control.in_force, "configured": log_level_control.configured}


# The audit log: ``GET /api/audit``.

MOST = 1000
"""Most entries in one answer."""
USUAL = 100
ASKS = (
    Parameter("who", "Only actions of this user."),
    Parameter("action", "Only this action, for example ``project publish``."),
    Parameter("subject", "Only actions on this subject."),
    Parameter("index", "Only changes of this named index."),
    Parameter("before", "Only entries before this serial.", {"type": "integer", "minimum": 0}),
    Parameter(
        "most",
        "The number of entries.",
        {"type": "integer", "minimum": 1, "maximum": MOST},
    ),
)


class AuditEntryDocument(TypedDict):
    """An audit entry. `address`: the client's address; `token`: the id of the token that was used;
    `index`: the named index that was changed, null for the default index and for changes that
    belong to no index.
    """

    serial: int
    when: Moment
    user: str
    action: str
    subject: str
    address: str | None
    token: str | None
    index: str | None
    details: dict[str, str]


class AuditPage(TypedDict):
    """A page of the audit log. `before`: the value to send for the next page, null if there is
    none.
    """

    entries: list[AuditEntryDocument]
    before: int | None


@route(
    "GET",
    "/api/audit",
    action=Action.ADMIN,
    describe=Described(AuditPage, asks=ASKS, refuses=(NotAvailable,)),
)
async def audit(ctx: RequestContext) -> None:
    """List the entries of the audit log, newest first."""
    query = parameters(ctx.request, *names(ASKS))
    most = number(query, "most", 1, MOST) or USUAL
    before = number(query, "before", 0, LARGEST_SERIAL)
    entries = await ctx.app.journal.entries(
        before=before,
        most=most,
        who=query.get("who"),
        what=audit_action(query.get("action")),
        subject=query.get("subject"),
        index=query.get("index"),
    )
    older = entries[-1].serial if len(entries) == most else None
    send_json(
        ctx.request,
        AuditPage(
            entries=[
                {
                    "serial": entry.serial,
                    "when": utc_text(entry.when),
                    "user": entry.who,
                    "action": entry.what,
                    "subject": entry.subject,
                    "address": entry.where or None,
                    "token": entry.token,
                    "index": entry.index or None,
                    "details": dict(entry.details),
                }
                for entry in entries
            ],
            before=older,
        ),
    )
