"""The accounts database."""
