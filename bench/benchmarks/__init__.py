"""What pytest collects: one scenario a file."""
