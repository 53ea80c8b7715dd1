"""The database of everything: catalog, accounts, audit log and downloads, in SQLite or PostgreSQL.

Nothing here imports SQLAlchemy before a database is opened: modules that need it are imported in
the thread that does the work. Why these are several files of SQLite: docs/project/decisions.
"""
