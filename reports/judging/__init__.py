"""The paper's values, and how ours are judged."""
