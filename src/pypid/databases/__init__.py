"""Code shared by everything that uses a database: its location, its errors, its threads."""
