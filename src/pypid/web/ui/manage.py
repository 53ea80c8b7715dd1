"""The administration's start page: status, usage, and recent activity."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from attrs import frozen

from pypid.core.accounts.entries import AccountStatus, AuditEntry
from pypid.core.configuration.choices import Mode
from pypid.core.errors import BadName, PypidError
from pypid.core.packaging.names import project_name
from pypid.core.permissions import Action, Identity
from pypid.web.api.health import condition_of
from pypid.web.app.app import App, app
from pypid.web.app.guard import guarded
from pypid.web.app.measures import Disk
from pypid.web.http.form_fields import asked
from pypid.web.http.request import Request
from pypid.web.ui.pages import go, part, show, size
from pypid.web.ui.storage import used_of

LAST = 10
"""Number of audit entries that are shown."""


@frozen
class MachinePart:
    """The status of a part of the system: a word (on a badge of this `kind`), a sentence, and what
    to do about it.
    """

    name: str
    word: str
    kind: str
    says: str
    todo: str = ""


@guarded(app, "/manage/", may=Action.ADMIN, page=True)
async def manage(face: App, request: Request, who: Identity) -> None:
    """Show status, usage and recent activity."""
    used, _ = await used_of(face)
    usage, measures = face.measures.usage, face.measures
    disks = {"state": await measures.disk("state"), "storage": await measures.disk("storage")}
    await show(
        face,
        request,
        who,
        "manage.html",
        parts=[*_parts(face), *_disks(face, disks), *await _workers(face)],
        since=face.since,
        shared=face.index.shared,
        used=used,
        counting=usage.is_counting,
        limit=face.settings.max_cache,
        pending=await _pending(face),
        deeds=await _deeds(face),
    )


@guarded(app, "/manage/why", may=Action.ADMIN, page=True)
async def ask_why(face: App, request: Request, who: Identity) -> None:
    """Redirect to the page that explains why a name is as it is here."""
    typed, problems = asked(request).text("name").strip(), []
    try:
        return go(request, f"project/{part(project_name(typed))}/-/why")
    except BadName as error:
        problems = [str(error)] if typed else []
    return await show(
        face,
        request,
        who,
        "why_ask.html",
        status=400 if problems else 200,
        problems=problems,
        name=typed,
    )


# --- status ---------------------------------------------------------------------------------------


def _parts(face: App) -> Iterator[MachinePart]:
    said = condition_of(face)
    yield from _readiness(face, bool(said["ready"]))
    yield _accounts() if said["access"] else _accounts_away()
    yield _catalog(face) if said["cache"] else _catalog_away()
    yield _storage(face, is_well=bool(said["storage"]))
    yield _comparison(face)
    yield _upstream(face)


def _accounts() -> MachinePart:
    return MachinePart("Accounts", "well", "good", "They say who somebody is.")


def _accounts_away() -> MachinePart:
    says = (
        "Nobody can be asked who somebody is. Administrators whom the configuration names get in "
        "all the same."
    )
    todo = "See whether the accounts database ([access] url) answers, and what the log says of it."
    return MachinePart("Accounts", "away", "bad", says, f"{todo} It is asked again and again.")


def _catalog(face: App) -> MachinePart:
    return MachinePart(
        "Catalog",
        "well",
        "good",
        "What is known of the projects can be asked." if face.index.shared else "In memory.",
    )


def _catalog_away() -> MachinePart:
    says = (
        "The shared catalog cannot be asked: nothing can be published, and pages go on for "
        "[cache] stale_for."
    )
    return MachinePart(
        "Catalog",
        "away",
        "bad",
        says,
        "See whether its server ([cache] url) answers, and what the log says of it.",
    )


def _storage(face: App, *, is_well: bool) -> MachinePart:
    place = face.settings.place
    if is_well:
        return MachinePart("Storage", "well", "good", f"It answers: {place}")
    todo = "Is the disk mounted, and not full? Does the bucket answer, with the keys of [storage]?"
    return MachinePart(
        "Storage",
        "away",
        "bad",
        f"It does not answer: {place}",
        f"{todo} It is asked every five seconds.",
    )


def _readiness(face: App, is_ready: bool) -> Iterator[MachinePart]:
    if face.condition.stopping:
        yield MachinePart(
            "Clients", "stopping", "warn", "It was asked to stop: nobody new is let in."
        )
    elif not is_ready:
        says = "A part is missing that reading needs, and load balancers are told so (/ready)."
        yield MachinePart("Clients", "turned away", "bad", says, "See below which part it is.")
    else:
        yield MachinePart(
            "Clients", "welcome", "good", "Load balancers are told to send them here (/ready)."
        )


def _comparison(face: App) -> MachinePart:
    under_way, name = face.index.comparing, "Comparison with the storage"
    if under_way is not None:
        far = (
            f"Under way: {under_way.objects:,} objects were listed, and {under_way.projects:,} "
            f"projects read."
        )
        return MachinePart(
            name,
            "under way",
            "warn",
            f"{far} A project that is not known yet is looked up when somebody asks for it.",
        )
    if face.index.catalog.was_complete:
        return MachinePart(
            name,
            "complete",
            "good",
            "All that lies in the storage has been compared since the start.",
        )
    says = (
        "Not all that lies in the storage has been compared since the start: what is not known is "
        "looked up when asked."
    )
    return MachinePart(
        name,
        "not complete",
        "bad",
        says,
        "See the log for the reason; then compare it with the form under Storage.",
    )


def _upstream(face: App) -> MachinePart:
    outage = face.index.envoy.outage
    if face.index.policy.mode is Mode.OFFLINE:
        return MachinePart("Upstream", "offline", "", "No other index is asked ([upstream] mode).")
    if outage.error is None:
        return MachinePart(
            "Upstream",
            "well",
            "good",
            "It answered the last time that it was asked, or was not asked yet.",
        )
    since = "" if outage.since is None else f" Since {outage.since:%-d %b %Y %H:%M} UTC."
    todo = (
        "See whether the other index can be reached from here. Until it answers, what is stored "
        "is served."
    )
    return MachinePart("Upstream", "away", "bad", f"{outage.error}{since}", todo)


def _disks(face: App, disks: dict[str, Disk | None]) -> Iterator[MachinePart]:
    names = {"state": "Disk of the state folder", "storage": "Disk of the storage"}
    needed = {"state": True, "storage": face.settings.storage_folder is not None}
    for which, disk in disks.items():
        if disk is None and needed[which]:
            todo = "See whether the disk, or the network that it is reached by, works."
            yield MachinePart(
                names[which], "unknown", "warn", "It did not say in a second how full it is.", todo
            )
        elif disk is not None:
            says = f"{size(disk.free)} of {size(disk.total)} are free."
            todo = (
                "Make room: uploads are refused, and files of upstream's not kept, once it is full."
            )
            yield (
                MachinePart(names[which], "short", "bad", says, todo)
                if disk.is_short
                else MachinePart(names[which], "well", "good", says)
            )


async def _workers(face: App) -> list[MachinePart]:
    try:
        number, workers = await face.measured()
    except OSError:
        return [
            MachinePart(
                "Processes",
                "unknown",
                "warn",
                "What they have counted cannot be read.",
                "See the log for the reason.",
            )
        ]
    alive = [worker for worker in workers if worker.number]
    many = (
        f"{len(alive)} processes answer; this is number {number}."
        if len(alive) > 1
        else "One process answers."
    )
    return [MachinePart("Processes", str(len(alive)), "", many)]


# --- activity -------------------------------------------------------------------------------------


async def _pending(face: App) -> int | None:
    """Return how many registrations wait for approval; None if unknown."""
    if face.registry is None:
        return None
    try:
        return sum(
            1
            for account in await face.accounts.users()
            if account.standing is AccountStatus.PENDING
        )
    except PypidError:
        return None


async def _deeds(face: App) -> Sequence[AuditEntry] | None:
    """Return the last audit entries, the newest first; None if unavailable."""
    if face.registry is None:
        return None
    try:
        return await face.journal.deeds(most=LAST)
    except PypidError:
        return None
