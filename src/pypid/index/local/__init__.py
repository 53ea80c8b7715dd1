"""Local projects: publishing, managing, adopting, checking and repairing their files."""
