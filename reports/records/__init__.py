"""What the files say, typed."""
