"""Implementations of `ports.Catalog`: in memory, and in a SQL database."""
