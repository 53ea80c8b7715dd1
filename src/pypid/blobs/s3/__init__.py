"""Blobs in S3, or in a compatible store.

Each module has one subject::

    store.py        S3Settings, S3Blobs, open: the entry point
    addresses.py    the URLs of keys
    signing.py      signatures in headers and in URLs (SigV4), and CloudFront's
    credentials.py  the keys for signing, and their expiry
    refusals.py     error responses, and what to do about them
    asking.py       one request: signed, retried where that helps
    payloads.py     payloads that can be sent twice
    writing.py      one object, whole or not at all
    multipart.py    large ones, in parts
    reading.py      bodies that resume after a reset
    listing.py      pages of a listing; spreading.py: many at once, in order
    classes.py      storage classes: moving an object, and restoring it from an archive
    naming.py       the type and file name of a key for browsers
    probing.py      the abilities of this store

Everything specific to AWS (signatures, the chain of credentials, endpoints) is computed by
botocore, which sends nothing; only credentials are fetched by botocore itself, in threads.
"""
