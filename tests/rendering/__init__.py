"""READMEs."""
