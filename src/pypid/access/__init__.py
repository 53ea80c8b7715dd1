"""Who is this: one module for each source of people (`ports.People`), and `chain`, which asks them
(`ports.Access`).
"""
