"""Tests of `pypid.core.advisories`."""
