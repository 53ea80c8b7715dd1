"""Imports all route modules. Startup does not need this module: see `web.app.root`."""

from __future__ import annotations

from pypid.web.api import (
    audit,
    cache,
    compare,
    configuration,
    contents,
    downloads,
    exports,
    groups,
    health,
    invitations,
    log_level,
    metrics,
    news,
    openapi,
    projects,
    registration,
    rights,
    search,
    sessions,
    snapshots,
    storage,
    storage_usage,
    tiering,
    tokens,
    upstream,
    users,
    why,
)
from pypid.web.app.app import App, FaceSettings, routes
from pypid.web.app.root import resource
from pypid.web.installers import (
    as_of,
    client_files,
    collect,
    files,
    legacy,
    local,
    pypicache,
    simple,
    trusted_publishing,
    uploads,
)
from pypid.web.pypicloud import accounts, acl, admin, listing, packages, permissions, posts
from pypid.web.ui import (
    account,
    assets,
    login,
    project,
    project_actions,
    register,
    settings,
    upload,
    versions,
)
from pypid.web.ui import audit as audit_page
from pypid.web.ui import compare as compare_page
from pypid.web.ui import configuration as configuration_page
from pypid.web.ui import contents as contents_page
from pypid.web.ui import groups as group_pages
from pypid.web.ui import home as first_page
from pypid.web.ui import invitations as invitation_pages
from pypid.web.ui import manage as manage_page
from pypid.web.ui import rights as right_pages
from pypid.web.ui import search as search_page
from pypid.web.ui import snapshots as snapshots_page
from pypid.web.ui import storage as storage_page
from pypid.web.ui import tokens as token_page
from pypid.web.ui import upstream as upstream_page
from pypid.web.ui import users as user_pages
from pypid.web.ui import why as why_page

ROOMS = (
    simple,
    local,
    as_of,
    snapshots,
    files,
    contents,
    compare,
    uploads,
    legacy,
    pypicache,
    collect,
    downloads,
    projects,
    storage,
    exports,
    cache,
    tiering,
    why,
    users,
    groups,
    rights,
    tokens,
    audit,
    sessions,
    registration,
    invitations,
    trusted_publishing,
    openapi,
    client_files,
    log_level,
    metrics,
    health,
    news,
    search,
    packages,
    accounts,
    admin,
    permissions,
    acl,
    posts,
    listing,
    assets,
    first_page,
    search_page,
    configuration,
    storage_usage,
    upstream,
    manage_page,
    upstream_page,
    storage_page,
    snapshots_page,
    configuration_page,
    why_page,
    project,
    versions,
    contents_page,
    compare_page,
    upload,
    settings,
    project_actions,
    login,
    register,
    account,
    user_pages,
    invitation_pages,
    group_pages,
    right_pages,
    token_page,
    audit_page,
)
"""The modules whose routes make up the app; importing them registers the routes."""


__all__ = ["ROOMS", "App", "FaceSettings", "resource", "routes"]
