"""Tests of `pypid.advisories`."""
