"""Advisories: where they come from, their database, and the index in memory."""
