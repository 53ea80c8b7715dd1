"""Security advisories in the OSV format, as pure values and rules."""
