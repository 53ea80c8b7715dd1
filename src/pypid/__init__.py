"""pypid: a team's Python package index in one Twisted daemon."""

__version__ = "1.0.0.dev0"
