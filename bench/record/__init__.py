"""What is kept of a run: its journal, its JSON, its machine."""
