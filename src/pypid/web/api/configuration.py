"""The configuration in force: ``/api/configuration``."""

from __future__ import annotations

from collections.abc import Sequence

from pypid.core.configuration.in_force import SettingSection, written
from pypid.core.permissions import Action
from pypid.web.api.machine_documents import ConfigurationDocument, KeyDocument
from pypid.web.app.app import App
from pypid.web.app.descriptions import Described
from pypid.web.app.request_context import RequestContext
from pypid.web.app.route import route
from pypid.web.http.small_responses import send_json


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
