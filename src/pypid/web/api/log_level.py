"""The log level, changed while pypid runs: ``/api/log-level``."""

from __future__ import annotations

from typing import Literal, TypedDict

import msgspec

from pypid.core.errors import LogElsewhere
from pypid.core.permissions import Action, Identity
from pypid.web.app.app import LOUDNESS, App, LogLevelControl, app
from pypid.web.app.audit import recorded
from pypid.web.app.descriptions import Described
from pypid.web.app.guard import guarded
from pypid.web.http.request import Request
from pypid.web.http.small_responses import read_json, send_json

Level = Literal["debug", "info", "warn", "error", "critical", "default"]


class LogLevel(TypedDict):
    """The log level in force, and the one of the configuration file."""

    level: str
    configured: str


class WantedLevel(msgspec.Struct, forbid_unknown_fields=True):
    """The body of a change. ``default`` is the level of the configuration file."""

    level: Level


@guarded(app, "/api/log-level", may=Action.ADMIN)
@Described(LogLevel, refuses=(LogElsewhere,))
async def log_level(face: App, request: Request, who: Identity) -> None:
    """Return the log level in force and the configured one."""
    send_json(request, _said(_loudness(face)))


@guarded(app, "/api/log-level", may=Action.ADMIN, methods=("PUT",))
@Described(LogLevel, takes=WantedLevel, refuses=(LogElsewhere,))
async def set_log_level(face: App, request: Request, who: Identity) -> None:
    """Set the log level of all workers, until pypid stops or the configuration file says another
    one.
    """
    send_json(
        request, await changed(face, request, who, (await read_json(request, WantedLevel)).level)
    )


async def changed(face: App, request: Request, who: Identity, level: Level) -> LogLevel:
    """Set the log level of all workers; return the level in force and the configured one."""
    loudness = _loudness(face)
    was = loudness.in_force

    async def change() -> LogLevel:
        face.siblings.tell({"kind": LOUDNESS, "level": None if level == "default" else level})
        return _said(loudness)

    return await recorded(
        face, request, who, "set-log-level", level, change(), lambda _: {"was": was}
    )


def _loudness(face: App) -> LogLevelControl:
    if face.loudness is None:
        raise LogElsewhere()
    return face.loudness


def _said(loudness: LogLevelControl) -> LogLevel:
    return {"level": loudness.in_force, "configured": loudness.configured}
