"""The page of the effective configuration and the log level."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args

from attrs import frozen

from pypid.core.configuration.in_force import SettingLine, SettingSection
from pypid.core.permissions import Action
from pypid.web.api.configuration import setting_sections
from pypid.web.api.log_level import Level, changed
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.form_fields import Fields
from pypid.web.ui.flash import say as say_done
from pypid.web.ui.pages import go, show

MOST = 300
"""Number of lines of a section that are shown: there may be a rule for each project."""
LEVELS: tuple[str, ...] = get_args(Level)

say_done(
    log_level_set=(
        "The log level was changed. It applies until pypid stops or the configuration file sets "
        "another one."
    )
)


@frozen
class ShownSection:
    """A section, as far as it is shown; `more` lines are not."""

    name: str
    lines: Sequence[SettingLine]
    more: int


@route("GET", "/manage/configuration", action=Action.ADMIN, page=True)
async def configuration(ctx: RequestContext) -> None:
    """Show the effective configuration and its sources."""
    await _page(ctx)


@route("POST", "/manage/log-level", action=Action.ADMIN, page=True, form=True)
async def set_log_level(ctx: RequestContext) -> None:
    """Set the log level."""
    wanted = (ctx.request.form or Fields()).text("level")
    for level in get_args(Level):
        if level == wanted:
            await changed(ctx, level)
            return go(ctx.request, "manage/configuration", done="log-level-set")
    return await _page(ctx, problems=[f"Choose a level: {', '.join(LEVELS)}."])


async def _page(ctx: RequestContext, problems: Sequence[str] = ()) -> None:
    sections = await setting_sections(ctx.app)
    waiting = [
        f"[{section.section}] {line.key}"
        for section in sections
        for line in section.lines
        if line.waits
    ]
    log_level_control = ctx.app.log_level_control
    await show(
        ctx,
        "configuration.html",
        status=400 if problems else 200,
        problems=problems,
        sections=[_shown(section) for section in sections],
        waiting=waiting[:MOST],
        levels=LEVELS,
        level=None if log_level_control is None else log_level_control.in_force,
        configured=None if log_level_control is None else log_level_control.configured,
    )


def _shown(section: SettingSection) -> ShownSection:
    return ShownSection(section.section, section.lines[:MOST], max(0, len(section.lines) - MOST))
