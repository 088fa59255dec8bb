"""What is measured, and how. docs/measurement.md explains the method, docs/json.md the JSON."""
