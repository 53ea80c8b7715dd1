"""Contract tests for backends, and a world without a network. Public. Needs ``hypothesis``.

A backend's tests are an empty subclass of the contract for its port, and what is special about it::

    class MyBlobsTests(BlobsContract, SynchronousTestCase):
        async def make(self):
            return MyBlobs(...)

The contracts run on Deferreds that fire at once: give the backend `world()`, whose clock only moves
when advanced, and which has no threads.
"""

from pypid.testing.accounts import AccountsContract
from pypid.testing.blobs import BlobsContract
from pypid.testing.catalog import CatalogContract
from pypid.testing.logs import DownloadsContract, JournalContract
from pypid.testing.people import PeopleContract
from pypid.testing.upstream import UpstreamContract
from pypid.testing.worlds import BEGINNING, Fed, Turns, contents, world

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
