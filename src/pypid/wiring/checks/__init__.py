"""Checks of a configuration on this machine: what would stop a start, and what would fail later."""
