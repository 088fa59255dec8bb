"""What is counted of a trace, and the figures that follow."""
