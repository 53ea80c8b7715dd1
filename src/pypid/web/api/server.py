"""The running server: ``/api/status`` and ``/api/reload``."""

from __future__ import annotations

import os
from typing import NotRequired, TypedDict

from pypid import __version__
from pypid.core.errors import BadRequest
from pypid.core.permissions import Action
from pypid.core.simple_api.entries import utc_text
from pypid.web.api.health import condition_of
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described, Moment
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import send_json


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


class ReloadDocument(TypedDict):
    """The outcome of a reload. `problems`: what could not be read again, so that the former
    settings stay in force; `waiting`: the sections whose changes take effect at a restart.
    """

    problems: list[str]
    waiting: list[str]


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
    describe=Described(ReloadDocument, refuses=(BadRequest,)),
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
    outcome = await ctx.app.reload()
    document: ReloadDocument = {
        "problems": list(outcome.problems),
        "waiting": list(outcome.waiting),
    }
    send_json(ctx.request, document)
