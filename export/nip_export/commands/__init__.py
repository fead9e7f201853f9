"""What this package adds to the command line `nip`; named in the entry points of pyproject.toml."""
