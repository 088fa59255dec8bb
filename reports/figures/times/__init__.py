"""Times of a call."""
