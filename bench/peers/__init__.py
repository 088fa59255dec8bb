"""What others have for the same work: their gates and layers beside ours, `python -m bench.peers`."""
