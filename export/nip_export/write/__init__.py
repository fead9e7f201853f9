"""What an export leaves behind: the manifest, the bytes, the report to its user."""
