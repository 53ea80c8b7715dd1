"""Accounts: rights, sessions, registration, trusted publishers, and pypicloud's ACL."""
