"""Blobs in S3, or in what speaks its language.

Each room knows one thing::

    store.py        S3Settings, S3Blobs, open: the socket
    addresses.py    which URL a key has
    signing.py      signatures in headers and in URLs (SigV4), and CloudFront's
    credentials.py  whose keys sign, and until when
    refusals.py     what an S3 says no with, and what that means to us
    asking.py       one question: signed, asked again where that helps
    payloads.py     what is sent, fit to be sent twice
    writing.py      one object, whole or not at all
    multipart.py    large ones, in parts
    reading.py      a body that goes on after a reset
    listing.py      pages of a listing; spreading.py: many at once, in order
    classes.py      storage classes: moving an object, and having it back out of an archive
    naming.py       what a browser is told about a key
    probing.py      what this store can do

What AWS alone knows (signatures, the chain of credentials, endpoints) is botocore's, which computes
it and sends nothing; only credentials are fetched by botocore itself, in threads.
"""
