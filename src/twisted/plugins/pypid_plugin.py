from twisted.application.service import ServiceMaker

pypid = ServiceMaker(
    "pypid",
    "pypid.service",
    "A team's Python package index: private packages, published with twine or uv, installed with pip or uv.",
    "pypid",
)
