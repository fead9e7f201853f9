"""`nip demo`: exports the embedded example and evaluates the file, quickly."""
