"""Surgery on the exported graph: the backbone once, its clone for the second pass, and the heads on top."""
