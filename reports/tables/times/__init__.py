"""What a call costs: time, work and memory, by router and by size."""
