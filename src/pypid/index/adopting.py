"""Adopting: making files that already lie in the storage ours, in place, by writing their records beside them.

For folders made by ``pip download`` or kept for another index, and for files that somebody dropped into the storage.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from contextlib import AsyncExitStack
from enum import Enum

from attrs import frozen
from twisted.logger import Logger

from pypid.core.archive import Inside, inspect
from pypid.core.coremetadata import read_metadata
from pypid.core.errors import AlreadyExists, BadFilename, Missing, StorageDown
from pypid.core.layout import Kind, key
from pypid.core.model import Blob, Digests, File, Project, Upload
from pypid.core.names import Distribution, parse_filename
from pypid.core.upload import served_metadata
from pypid.flow import BytesBody, FileBody, Hashes
from pypid.index import truth
from pypid.index.parts import Parts
from pypid.index.publishing import Publisher

_log = Logger()
