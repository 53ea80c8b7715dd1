"""Reaching other services over HTTP: whom to believe, connections that are kept, bodies both ways,
and an end to every wait.

Knows neither indexes nor stores: what went wrong is a `Fault`, and who asked says what it means.
"""
