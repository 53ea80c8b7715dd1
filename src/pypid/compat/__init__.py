"""The HTTP APIs of other index servers, for clients and scripts that were written for them.

They are routes on top of `pypid.web` and the index. Routes that pypid has anyway, such as
``/simple/``, are not repeated here.
"""

ROUTE_MODULES = (
    "pypid.compat.pypicache",
    "pypid.compat.pypicloud",
)
"""The modules with routes, as in `web.app.route_table.MODULES`."""
