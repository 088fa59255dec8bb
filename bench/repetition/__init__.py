"""A repetition is a fresh process: it measures a block of every group."""
