"""Why something is not there: ``/api/why/``, for those who may publish and read.

Whoever may only read is not told: the answer names rules of the configuration, and files that they hide.
"""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Any

import msgspec

from pypid.core.model import Project
from pypid.core.names import project_name
from pypid.core.permissions import Action, Identity, demand
from pypid.core.simple import utc_text
from pypid.core.why import FileWhy, Why
from pypid.index.envoy import Outage
from pypid.index.explaining import why
from pypid.web.documents import send, send_json
from pypid.web.face import Face, app
from pypid.web.guard import guarded
from pypid.web.request import Request


@guarded(app, "/api/why/<project>", may=Action.WRITE)
async def of_project(face: Face, request: Request, who: Identity, project: str) -> None:
    """What a name is here, what upstream said of it, and each file of it that is hidden."""
    found = await _found(face, who, project)
    # off the reactor thread: ten thousand files may be hidden, while upstream is away
    body = await face.world.thinking(_encoded, found, face.index.envoy.outage)
    send(request, 200, "application/json", body)


@guarded(app, "/api/why/<project>/<filename>", may=Action.WRITE)
async def of_file(face: Face, request: Request, who: Identity, project: str, filename: str) -> None:
    """The same of one file, whether there is one of this name or not."""
    found = await _found(face, who, project)
    send_json(request, {**_document(found, face.index.envoy.outage), "file": _file(found.file(filename))})


async def _found(face: Face, who: Identity, project: str) -> Why:
    name = project_name(project)
    demand(face.rules, who, Action.READ, name)  # it tells of files: a token to publish is not enough
    return await why(face.index, name)


def _encoded(found: Why, outage: Outage) -> bytes:
    return msgspec.json.encode(
        {**_document(found, outage), "hidden": [_file(file) for file in found.files if not file.visible]}
    )


def _document(found: Why, outage: Outage) -> dict[str, Any]:
    said = found.theirs.said
    visible = Counter((file.ours, file.kept) for file in found.files if file.visible)
    return {
        "name": found.name,
        "standing": _word(found.standing),
        "says": found.standing.value,
        "not_asked": None if found.told is None else found.told.value,
        "not_shown": None if found.shown is None else found.shown.value,
        "ours": {"status": found.ours.status.value, "files": len(found.ours.files)}
        if isinstance(found.ours, Project)
        else None,
        "upstream": None
        if said is None
        else {
            "asked": utc_text(said.asked),
            "index": said.index,
            "status": None if said.files is None else said.status.value,
            "files": None if said.files is None else len(said.files),
        },
        "failure": None if found.theirs.failure is None else str(found.theirs.failure),
        "outage": None if outage.since is None else {"since": utc_text(outage.since), "error": str(outage.error)},
        "visible": {"ours": visible[True, False], "kept": visible[False, True], "upstream": visible[False, False]},
    }


def _file(file: FileWhy) -> dict[str, Any]:
    return {
        "filename": file.filename,
        "ours": file.ours,
        "kept": file.kept,
        "visible": file.visible,
        "rule": None if file.because is None else _word(file.because),
        "because": None if file.because is None else file.because.value,
        "until": None if file.until is None else utc_text(file.until),
    }


def _word(of: Enum) -> str:
    """For programs: ``not-listed``."""
    return of.name.lower().replace("_", "-")
