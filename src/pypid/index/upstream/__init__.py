"""Upstream projects: listings, hiding rules, downloads, and the cache of their files."""
