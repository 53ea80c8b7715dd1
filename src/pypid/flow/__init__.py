"""Twisted plumbing: the world, coroutines, streaming bodies, shared jobs, periodic jobs.

What most modules need can be imported from here; the rest has its own modules.
"""

from pypid.flow.bodies import BytesBody, FileBody, whole
from pypid.flow.coroutines import shielded, start
from pypid.flow.world import Blocking, World, at_once

__all__ = [
    "Blocking",
    "BytesBody",
    "FileBody",
    "World",
    "at_once",
    "shielded",
    "start",
    "whole",
]
