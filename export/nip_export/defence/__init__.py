"""The defence as mathematics: its numbers, statistics, views and decision, in numpy and torch."""
