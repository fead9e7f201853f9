"""How fast a defended file is, beside its own backbone without the defence."""
