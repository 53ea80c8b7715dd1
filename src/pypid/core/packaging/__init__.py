"""The packaging specifications: names, versions, requirements, metadata, tags and locks."""
