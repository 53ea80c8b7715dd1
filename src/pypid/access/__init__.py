"""Authentication: one module for each source of users (`ports.People`), and `chain`, which
queries them (`ports.Access`).
"""
