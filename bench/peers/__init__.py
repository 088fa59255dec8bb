"""What others have for the same work: their gates and layers beside ours, measured by the preset `peers`."""
