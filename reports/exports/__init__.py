"""Files of benchmarks for other tools: a module is a format."""
