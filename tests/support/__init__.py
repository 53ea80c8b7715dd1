"""Contract tests for backends, and a world without a network.

A backend's tests are an empty subclass of the contract for its port, and what is special about it::

    class MyBlobsTests(BlobsContract, SynchronousTestCase):
        async def make(self):
            return MyBlobs(...)

The contracts run on Deferreds that fire at once: give the backend `world()`, whose clock only moves
when advanced, and which has no threads.
"""

from tests.support.accounts import AccountsContract
from tests.support.blobs import BlobsContract
from tests.support.catalog import CatalogContract
from tests.support.logs import DownloadsContract, JournalContract
from tests.support.people import PeopleContract
from tests.support.upstream import UpstreamContract
from tests.support.worlds import BEGINNING, Fed, Turns, contents, world

__all__ = [
    "BEGINNING",
    "AccountsContract",
    "BlobsContract",
    "CatalogContract",
    "DownloadsContract",
    "Fed",
    "JournalContract",
    "PeopleContract",
    "Turns",
    "UpstreamContract",
    "contents",
    "world",
]
