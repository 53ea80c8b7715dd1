"""The implementation of `ports.Catalog`, on the rows of a database."""
