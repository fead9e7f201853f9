"""Batches that fit the memory, and progress."""
