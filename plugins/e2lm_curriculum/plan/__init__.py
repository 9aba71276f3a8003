"""In which order examples are seen: made before training, kept as a file."""
