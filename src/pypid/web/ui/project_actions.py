"""The forms of a project's settings, by `web.app.changes`: yank, unyank, delete, set the status,
release the name.
"""

from __future__ import annotations

from collections.abc import Awaitable

from pypid.core.errors import BadRequest, shortened
from pypid.core.indexes import DEFAULT
from pypid.core.model import Project, Status
from pypid.core.packaging.names import ProjectName
from pypid.core.permissions import Action
from pypid.core.promotion_rules import PromotionRefused
from pypid.web.api.owners import give
from pypid.web.api.promotions import NewPromotion, promoted, wanted_of
from pypid.web.app import changes
from pypid.web.app.app import App
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say
from pypid.web.ui.form_helpers import sent
from pypid.web.ui.pages import go, part
from pypid.web.ui.settings import ADDRESS, show_settings

FILE, RELEASE, PROJECT = "filename", "version", "project"
"""The fields of which one names the subject of the form."""
CONFIRM = "confirm"
"""The field in which the name is typed before deletion."""
Done = tuple[Project | None, str]
"""The project after the change, None if it is removed; and the word of its message in `ui.flash`.
"""
BACK, PAGE = "back", "page"
"""Fields with the page that contained the form: which release's, and its number."""

say(
    yanked="Yanked: installers skip it unless exactly this version is requested.",
    unyanked="The yank was undone.",
    promoted="The release was promoted.",
    file_deleted="The file was deleted.",
    release_deleted="The release was deleted.",
    project_deleted="All files of the project were deleted. Its name stays local.",
    status_set="The status was set.",
    name_released="The name was released.",
    owner_changed="The owner was changed.",
)


@route("POST", ADDRESS + "yank", action=Action.WRITE, page=True, form=True, below_index=True)
async def yank(ctx: RequestContext, project: ProjectName) -> None:
    """Yank a release or a file."""
    fields = sent(ctx.request)

    async def yanked() -> Done:
        subject, filenames = await _chosen(ctx.app, project, fields)
        return await changes.yank(
            ctx, project, subject, filenames, fields.text("reason").strip()
        ), "yanked"

    await _answer(ctx, project, yanked())


@route("POST", ADDRESS + "unyank", action=Action.WRITE, page=True, form=True, below_index=True)
async def unyank(ctx: RequestContext, project: ProjectName) -> None:
    """Unyank a release or a file."""
    fields = sent(ctx.request)

    async def unyanked() -> Done:
        subject, filenames = await _chosen(ctx.app, project, fields)
        return await changes.unyank(ctx, project, subject, filenames), "unyanked"

    await _answer(ctx, project, unyanked())


@route("POST", ADDRESS + "promote", action=Action.WRITE, page=True, form=True, below_index=True)
async def promote(ctx: RequestContext, project: ProjectName) -> None:
    """Promote a release to another index."""
    fields = sent(ctx.request)

    async def done() -> Done:
        _, version = _meant(fields, RELEASE)
        source, target = ctx.app.index.name or DEFAULT, fields.text("target")
        wish = NewPromotion(source, [f"{project}=={version}"], move=bool(fields.text("move")))
        await promoted(ctx, wish, *await wanted_of(ctx, wish, target))
        return await ctx.app.index.context.known(project), "promoted"

    await _answer(ctx, project, done())


@route("POST", ADDRESS + "delete", action=Action.DELETE, page=True, form=True, below_index=True)
async def delete(ctx: RequestContext, project: ProjectName) -> None:
    """Delete a file, a release, or all files of the project, whose name was typed."""
    fields = sent(ctx.request)

    async def deleted() -> Done:
        kind, subject = _meant(fields, FILE, RELEASE, PROJECT)
        _confirm(fields, project if kind == PROJECT else subject, subject)
        if kind == PROJECT:
            return (await changes.delete_all(ctx, project))[0], "project-deleted"
        done = "file-deleted" if kind == FILE else "release-deleted"
        return await changes.delete(ctx, project, *await _chosen(ctx.app, project, fields)), done

    await _answer(ctx, project, deleted())


@route("POST", ADDRESS + "status", action=Action.ADMIN, page=True, form=True, below_index=True)
async def set_status(ctx: RequestContext, project: ProjectName) -> None:
    """Set the status of the project."""
    fields = sent(ctx.request)

    async def changed() -> Done:
        try:
            status = Status(fields.text("status"))
        except ValueError:
            raise BadRequest(
                f"Choose one of the statuses: {', '.join(status.value for status in Status)}."
            ) from None
        return await changes.set_status(
            ctx, project, status, fields.text("reason").strip()
        ), "status-set"

    await _answer(ctx, project, changed())


@route(
    "POST", ADDRESS + "release-name", action=Action.ADMIN, page=True, form=True, below_index=True
)
async def release_name(ctx: RequestContext, project: ProjectName) -> None:
    """Release the name of an empty project."""
    fields = sent(ctx.request)

    async def given_back() -> Done:
        _confirm(fields, project, project)
        await changes.give_back(ctx, project)
        return None, "name-released"

    await _answer(ctx, project, given_back())


@route("POST", ADDRESS + "owner", action=Action.ADMIN, page=True, form=True, below_index=True)
async def set_owner(ctx: RequestContext, project: ProjectName) -> None:
    """Make a user the owner of the project in this index; without a name, remove its owner."""
    fields = sent(ctx.request)

    async def changed() -> Done:
        known = await ctx.app.index.context.known(project)
        await give(ctx, project, fields.text("user").strip() or None)
        return known, "owner-changed"

    await _answer(ctx, project, changed())


def _meant(fields: Fields, *kinds: str) -> tuple[str, str]:
    """Return the one of these fields that is set, and its value. Raises `BadRequest` unless exactly
    one is set, once.
    """
    named = [(kind, text) for kind in kinds for text in fields.all(kind) if text]
    if len(named) != 1:
        raise BadRequest(
            f"The form must name exactly one thing, in one of these fields: {', '.join(kinds)}."
        )
    return named[0]


async def _chosen(app: App, name: ProjectName, fields: Fields) -> tuple[str, frozenset[str]]:
    """Return the file or release of the form, and the names of its files. Raises `NoSuchProject`,
    `NoSuchFile`.
    """
    kind, subject = _meant(fields, FILE, RELEASE)
    return subject, frozenset({subject}) if kind == FILE else await app.index.release(name, subject)


def _confirm(fields: Fields, *words: str) -> None:
    """Raise `BadRequest` unless the typed text is each of these words (which are the same in a
    correct form).
    """
    typed = fields.text(CONFIRM).strip()
    if any(typed != word for word in words):
        typed_text = f"{shortened(typed)!r} was typed" if typed else "nothing was typed"
        raise BadRequest(
            f"Nothing was changed: type {shortened(words[0])!r} to confirm; {typed_text}."
        )


async def _answer(ctx: RequestContext, name: ProjectName, doing: Awaitable[Done]) -> None:
    """Carry out the change and redirect to the page of the form, or show the form again with the
    error.
    """
    fields = sent(ctx.request)
    back, page = fields.text(BACK) or None, fields.text(PAGE)
    sees_settings = all(ctx.may(right, name) for right in (Action.WRITE, Action.READ))
    try:
        project, done = await doing
    except (BadRequest, PromotionRefused) as error:
        if not sees_settings:
            raise
        return await show_settings(ctx, name, back, page, error=error, sent=fields)
    if project is None:
        return go(ctx.request, "", done=done)
    if not sees_settings:
        return go(ctx.request, f"project/{part(name)}/" if project.files else "", done=done)
    parameters = {"page": page} if page.isascii() and page.isdigit() and page != "1" else {}
    if back is not None and any(file.version == back for file in project.files):
        parameters["version"] = back
    elif back is not None:  # the release was removed
        parameters = {}
    return go(ctx.request, f"project/{part(name)}/-/settings", done=done, **parameters)
