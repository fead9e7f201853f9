"""Programs to run and to read: how a product would use the runtime."""
