"""``POST /requirements.txt``: pypicache's way to have all the files that requirements need, and ours of seeing how far it is.

A form or a JSON document with the fields ``requirements``, ``pylock.toml`` and ``uv.lock`` (texts, each any number of times),
``platform`` and ``python``. The answer is JSON; who accepts an event stream or newline JSON is told while it happens.
"""

from __future__ import annotations

import sys
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any

import msgspec

from pypid.core.collection import Collected, Event, FileDone, FileReport, Outcome, Problem, Resolved, Resolving, Wishes
from pypid.core.errors import BadRequest, Busy, NeedsExtra, PypidError
from pypid.core.locks import Lock, parse_pylock, parse_uv_lock
from pypid.core.model import Checksum, Digests
from pypid.core.names import ProjectName
from pypid.core.permissions import Action, Identity, demand
from pypid.core.requirements import Requirements, parse_requirements
from pypid.core.targets import Target, targets
from pypid.flow import shielded
from pypid.index.asking import Asked
from pypid.index.collecting import Collector
from pypid.web.asking import asked_of
from pypid.web.body import read_small, refuse_early
from pypid.web.deeds import listed, note
from pypid.web.documents import send_json
from pypid.web.events import Stream, stream_of
from pypid.web.face import Face, app
from pypid.web.forms import Limits, read_form
from pypid.web.guard import guarded
from pypid.web.request import Request
from pypid.web.respond import header_of

LIMITS = Limits(content=20 << 20, text=16 << 20, total=20 << 20, parts=200)
"""There is no file among the fields; `content` is what the refusal of a body that is too large names."""
MISSING = "Missing requirements data."
RUNNING = f"{sys.version_info.major}.{sys.version_info.minor}"

Texts = str | tuple[str, ...]


class Asking(msgspec.Struct, forbid_unknown_fields=True):
    """What is sent as JSON; a form has the same fields."""

    requirements: Texts = ()
    pylock_toml: Texts = msgspec.field(default=(), name="pylock.toml")
    uv_lock: Texts = msgspec.field(default=(), name="uv.lock")
    platform: Texts = ()
    python: Texts = ()


class Missing(msgspec.Struct, frozen=True):
    """pypicache's answer to a form without requirements."""

    error: bool = True
    message: str = MISSING


@guarded(app, "/requirements.txt", may=Action.FETCH, methods=("POST",))
async def collect(face: Face, request: Request, who: Identity) -> None:
    """Keep all the files that are needed, and tell of each what became of it."""
    demand(face.rules, who, Action.READ)
    if face.collecting.tokens == 0:
        raise Busy("Others are being collected for.", 30)
    await face.collecting.acquire()
    try:
        wishes = await face.world.blocking(_wishes, await _read(request))
        if wishes is None:
            return send_json(request, Missing(), 400)
        await _answer(face, request, who, wishes)
    finally:
        face.collecting.release()


# --- what is wanted -------------------------------------------------------------------------------------------


async def _read(request: Request) -> Asking:
    refuse_early(request.body.size, LIMITS.total)
    content_type = header_of(request, "content-type") or ""
    if content_type.partition(";")[0].strip().lower() == "application/json":
        data = await read_small(request.body, LIMITS.total)
        try:
            return msgspec.json.decode(data, type=Asking)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise BadRequest(f"The JSON document is not what is expected here: {error}") from None
    form = await read_form(request.body, content_type, limits=LIMITS, spool=_NoFile())
    names = {field.encode_name: field.name for field in msgspec.structs.fields(Asking)}
    return Asking(**{names[name]: values for name, values in form.fields.items() if name in names})


class _NoFile:
    """For the part ``content``, which has no meaning here."""

    def want(self, checksums: Iterable[Checksum]) -> None:
        return None

    async def write(self, data: bytes) -> None:
        raise BadRequest("Send the text of the file in the field 'requirements', 'pylock.toml' or 'uv.lock'.")

    async def finish(self) -> Digests:
        return Digests("", None, None, 0)


def _wishes(asking: Asking) -> Wishes | None:
    """What is wanted; None where nothing is. Blocks: a lock may be large."""
    requirements = _texts(asking.requirements)
    pylocks, uv_locks = _texts(asking.pylock_toml), _texts(asking.uv_lock)
    if not requirements and not pylocks and not uv_locks:
        return None
    if len(requirements) + len(pylocks) + len(uv_locks) > LIMITS.parts:  # JSON has room for millions
        raise BadRequest(f"At most {LIMITS.parts} files can be collected for at once.")
    wanted = sum((parse_requirements(text) for text in requirements), Requirements())
    locks: list[Lock] = [*map(parse_pylock, pylocks), *map(parse_uv_lock, uv_locks)]
    for lock in locks:
        wanted += Requirements(unparseable=lock.unparseable)
    return Wishes(wanted, tuple(locks), targets(_words(asking.platform), _words(asking.python), running=RUNNING))


def _texts(value: Texts) -> list[str]:
    return [text for text in ((value,) if isinstance(value, str) else value) if text.strip()]


def _words(value: Texts) -> list[str]:
    return [word for text in _texts(value) for word in text.replace(",", " ").split()]


# --- doing it -------------------------------------------------------------------------------------------------


async def _answer(face: Face, request: Request, who: Identity, wishes: Wishes) -> None:
    kind = stream_of(request)
    if kind is None:
        return send_json(request, _document(await _collected(face, request, who, wishes, lambda event: None)))
    stream = Stream(request, kind)
    stream.begin()
    try:
        collected = await _collected(face, request, who, wishes, lambda event: stream.say(*_told(event)))
    except PypidError as error:
        return stream.say("error", {"error": True, "message": str(error)})
    return stream.say("result", _document(collected))


async def _collected(face: Face, request: Request, who: Identity, wishes: Wishes, tell: Any) -> Collected:
    def asked(name: ProjectName) -> Asked:
        demand(face.rules, who, Action.READ, name)
        return asked_of(face, request, who, name)

    if not wishes.requirements.wanted:
        return await _kept(face, request, who, Collector(face.index, None, asked, tell).collect(wishes))
    if face.resolvers is None:
        raise NeedsExtra("Working out what requirements need", "collect")
    async with face.resolvers(face, who) as resolver:
        return await _kept(face, request, who, Collector(face.index, resolver, asked, tell).collect(wishes))


async def _kept(face: Face, request: Request, who: Identity, collecting: Coroutine[Any, Any, Collected]) -> Collected:
    """With a line in the audit log, if it went to its end; else what was kept is what anybody's download would have kept."""
    collected = await collecting
    kept = {f"{report.project}/{report.filename}" for report in collected.files if report.outcome is Outcome.KEPT}
    if kept:
        await shielded(note(face, request, who, "collect", "requirements", {"files": listed(kept)}))
    return collected


# --- in JSON --------------------------------------------------------------------------------------------------


def _told(event: Event) -> tuple[str, dict[str, Any]]:
    match event:
        case Resolving(target, seconds):
            return "resolving", {**_target(target), "seconds": round(seconds, 1)}
        case Resolved(target, pins):
            return "resolved", {**_target(target), "releases": len(pins)}
        case FileDone(report, done, of):
            return "file", {**_file(report), "done": done, "of": of}


def _document(collected: Collected) -> dict[str, Any]:
    requirements = collected.requirements
    problems = [*(Problem(remark.line, remark.reason) for remark in requirements.unparseable), *collected.failed]
    return {
        "cached": sorted({report.filename for report in collected.files if report.is_here}),
        "unparseable": [remark.line for remark in requirements.unparseable],
        "failed": list(dict.fromkeys(problem.line for problem in collected.failed)),
        "complete": collected.complete,
        "files": [_file(report) for report in collected.files],
        "problems": _problems(problems),
        "ignored": [{"line": remark.line, "reason": remark.reason} for remark in requirements.ignored],
        "targets": [_resolved(resolved) for resolved in collected.resolved],
    }


def _target(target: Target) -> dict[str, Any]:
    return {"platform": target.platform, "python": target.python}


def _resolved(resolved: Resolved) -> dict[str, Any]:
    releases: Sequence[str] = sorted({f"{pin.project}=={pin.version}" for pin in resolved.pins})
    return {**_target(resolved.target), "releases": releases}


def _problems(problems: Sequence[Problem]) -> list[dict[str, Any]]:
    """Each once, with the targets for which it is so; none of them: for all."""
    where: dict[tuple[str, str], list[Target]] = {}
    for problem in problems:
        found = where.setdefault((problem.line, problem.reason), [])
        found += [] if problem.target is None else [problem.target]
    return [
        {"line": line, "reason": reason, "targets": [_target(target) for target in found]}
        for (line, reason), found in where.items()
    ]


def _file(report: FileReport) -> dict[str, Any]:
    return {
        "project": report.project,
        "version": report.version,
        "filename": report.filename,
        "outcome": report.outcome.value,
        "needs_build": report.needs_build,
        "reason": report.reason,
        "targets": [_target(target) for target in report.targets],
    }
