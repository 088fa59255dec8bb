"""What `python -m reports` can do: a module is a command."""
