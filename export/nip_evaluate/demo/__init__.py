"""The demo: export, attack and defend the embedded example."""
