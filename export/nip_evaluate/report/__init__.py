"""What people and programs see of an evaluation: terminal, JSON, the page, examples for ``nip ui``."""
