"""Reaching other services over HTTP: trust, connection reuse, bodies both ways, and a limit to
every wait.

Independent of indexes and stores: an error is a `Fault`, and the caller decides what it means.
"""
