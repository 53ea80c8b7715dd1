"""The translation of pypicloud's configuration."""
