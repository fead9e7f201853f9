"""How a defended file is executed: the whole graph at once, or its parts with rows picked on the host."""
