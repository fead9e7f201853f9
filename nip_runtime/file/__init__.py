"""What a defended file is: names, container, manifest, what is allowed in it, and who signed it."""
