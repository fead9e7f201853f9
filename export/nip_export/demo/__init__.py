"""`nip demo`: exports the embedded example, attacks it and reports what the defence did, and what it did
not do."""
