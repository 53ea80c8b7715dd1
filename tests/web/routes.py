"""The complete table of routes, made once for all tests."""

from __future__ import annotations

from importlib import import_module

from pypid.compat import ROUTE_MODULES
from pypid.web.app.route_table import MODULES, RouteTable

ALL_ROUTES = RouteTable((*MODULES, *ROUTE_MODULES))
for _name in ALL_ROUTES.modules:
    ALL_ROUTES.add(import_module(_name))
