"""Tests of `pypid.search`."""
