"""The log level, changed while pypid runs: ``/api/log-level``."""

from __future__ import annotations

from typing import Literal, TypedDict

import msgspec

from pypid.core.errors import LogElsewhere
from pypid.core.permissions import Action
from pypid.web.app.app import App
from pypid.web.app.app_settings import LOG_LEVEL, LogLevelControl
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import read_json, send_json

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
    describe=Described(LogLevel, refuses=(LogElsewhere,)),
)
async def log_level(ctx: RequestContext) -> None:
    """Return the log level in force and the configured one."""
    send_json(ctx.request, _document(_control_of(ctx.app)))


@route(
    "PUT",
    "/api/log-level",
    action=Action.ADMIN,
    describe=Described(LogLevel, takes=WantedLevel, refuses=(LogElsewhere,)),
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
        return _document(log_level_control)

    return await recorded(ctx, "log-level", level, change(), lambda _: {"was": was})


def _control_of(app: App) -> LogLevelControl:
    if app.log_level_control is None:
        raise LogElsewhere()
    return app.log_level_control


def _document(log_level_control: LogLevelControl) -> LogLevel:
    return {"level": log_level_control.in_force, "configured": log_level_control.configured}
