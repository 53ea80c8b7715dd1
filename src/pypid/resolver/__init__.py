"""Dependency resolution: uv finds the releases that requirements need, by asking this index with
the rights of the user.
"""
