"""Looking inside a torch model while it runs: which layers to tap, and what they output."""
