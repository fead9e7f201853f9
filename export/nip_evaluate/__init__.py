"""Attacks on an exported file, and an honest account of what it stops: ``nip evaluate``."""
