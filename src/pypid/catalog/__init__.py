"""Implementations of `ports.Catalog`: in memory, in a SQL database, and in Redis."""
