"""Routes of pypid's JSON API."""
