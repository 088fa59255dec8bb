"""What traces are read from: a module is a format."""
