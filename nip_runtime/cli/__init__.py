"""The command line ``nip``."""
