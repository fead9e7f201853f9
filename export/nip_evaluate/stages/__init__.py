"""The stages of an evaluation, in the order in which it calls them: attack, compare, look."""
