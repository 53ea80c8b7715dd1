"""The fast path: repeats earlier responses from memory for identical requests, as long as nothing
has changed.

Nothing is decided here. Klein's path answers each request the first time; its response is cached as
the bytes that it wrote, together with its dependencies, which are checked before each reuse. A site
without a fast path gives the same responses, more slowly.
"""
