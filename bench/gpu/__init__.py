"""One command on a machine with a GPU: tests, the paper's rounds, shapes, clock modes, a report, a table."""
