"""The contract of `Blobs` about files that are stored while they are still being received."""

# trial's assertions are not annotated
# mypy: allow-untyped-calls

from __future__ import annotations

import tempfile

from pypid.core.errors import Missing
from pypid.flow import at_once, start
from pypid.flow.growing_file import GrowingFile
from pypid.testing.blobs import BlobsContract
from pypid.testing.models import LARGE
from pypid.testing.worlds import contents


class GrowingFileContract(BlobsContract):
    """Mix it into a test case beside `BlobsContract`."""

    def test_growing_file_is_stored_when_it_ends(self) -> None:
        """A body that is read from a file to which bytes are still appended is stored whole once
        it has ended, and nothing before.
        """
        for number, size in enumerate((0, 10, 3 << 20)):
            data, key = bytes(range(256)) * -(-size // 256), f"spam/{number}"
            with tempfile.TemporaryFile() as file:
                body = GrowingFile(file, at_once, LARGE)
                writing = start(self.blobs.write(key, body))
                for stop in range(0, size, 700_000):
                    file.seek(0)
                    file.write(data[:stop])
                    file.flush()
                    body.grew(stop)
                    self.assertNoResult(writing)
                file.seek(0)
                file.write(data[:size])
                file.flush()
                body.grew(size)
                self.assertNoResult(writing)
                self.refused(self.blobs.stat(key), Missing)
                body.end(size)
                written = self.successResultOf(writing)
                self.assertTrue(file.closed)
            self.assertEqual((written.size, written), (size, self.have(self.blobs.stat(key))))
            self.assertEqual(self.get(key), data[:size])

    def test_growing_file_that_is_given_up_stores_nothing(self) -> None:
        """A write of a growing file that is cancelled closes it and stores nothing."""
        for size in (0, 10, 3 << 20):
            with tempfile.TemporaryFile() as file:
                file.write(bytes(size))
                file.flush()
                body = GrowingFile(file, at_once, LARGE)
                writing = start(self.blobs.write("spam/x", body))
                body.grew(size)
                self.assertNoResult(writing)
                writing.cancel()
                self.failureResultOf(writing)
                self.assertTrue(file.closed)
            self.assertEqual(self.have(contents(self.blobs)), [])
        self.put("spam/x", b"the key is free")
