"""Reaching other services over HTTP: trust, connection reuse, bodies both ways, and a limit to
every wait.

Knows neither indexes nor stores: an error is a `Fault`, and the caller decides what it means.
"""
