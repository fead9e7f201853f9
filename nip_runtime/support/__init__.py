"""Small things that every room uses: argument checks, optional dependencies, whole-file writing."""
