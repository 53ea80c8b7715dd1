"""Blobs in S3, or in a compatible store: `store` is the entry point.

Everything specific to AWS (signatures, the chain of credentials, endpoints) is computed by
botocore, which sends nothing; only credentials are fetched by botocore itself, in threads.
"""
