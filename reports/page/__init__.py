"""The page: its sections in order, written whole."""
