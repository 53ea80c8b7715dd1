"""The configuration: its keys, parsing, environment variables and checks."""
