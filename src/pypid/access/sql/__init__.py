"""The accounts database: users, groups, rights, tokens, sessions, the audit log and downloads, in
SQLite or PostgreSQL.

Nothing here imports SQLAlchemy before a database is opened: modules that need it are imported in
the thread that does the work. Why these are three databases: docs/project/decisions.
"""
