"""A real S3 server for the tests, on a free port of 127.0.0.1, that truly verifies each signature.

::

    with store() as s3:
        bucket = s3.bucket()  # new and empty
        s3.endpoint, s3.region, s3.access_key, s3.secret_key  # what pypid is told
        s3.ask("PUT", f"/{bucket}/key", b"body")  # what the tests ask, signed by the tests themselves

It is ``radosgw`` (Ceph 16.2, from Debian's packages; starts in two seconds and keeps all in
memory). It refuses a wrong signature, in headers (path, query, headers, body) and in URLs, an
expired URL, and a clock that is half an hour off (``RequestTimeTooSkewed``); keeps every odd key;
lists in the order of UTF-8, page by page. Of several writers with ``If-None-Match: *`` exactly one
wins, but `CompleteMultipartUpload` ignores the header and replaces. It encrypts (AES256, aws:kms),
has storage classes (not their delays: nothing must be restored; ``moto`` has them, and verifies
nothing), policies that deny, session tokens that it looks at, and TLS. It ignores a wrong SHA-256
checksum, and which region a signature names; it wants the ETag of ``If-Match`` without its quotes.
What is missing is 404 even to who may not list (AWS: 403). A listing has a ``'`` as ``&apos;``,
also where it quotes keys as in URLs.

The server is started on its first use and ends with the process that runs the tests; `radosgw`
starts another, for tests that break or stop it. Where it cannot be had its tests are skipped by its
name; with CI set they fail.
"""

import atexit
import functools
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from tests.live.stores.asking import Answer, Store
from tests.live.stores.radosgw import radosgw

__all__ = ("Answer", "Store", "store")


@contextmanager
def store() -> Iterator[Store]:
    """The one of this process. Raises `unittest.SkipTest` or, in CI,
    `tests.live.clients.Unavailable`.
    """
    yield _shared()


@functools.cache
def _shared() -> Store:
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(radosgw())
