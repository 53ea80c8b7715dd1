import os

from twisted.application.service import ServiceMaker

from pypid.daemon.sd_notify import name_sockets

name_sockets(os.environ)

pypid = ServiceMaker(
    "pypid",
    "pypid.wiring.recipe",
    (
        "A team's Python package index: private packages, published with twine or uv, installed "
        "with pip or uv."
    ),
    "pypid",
)
