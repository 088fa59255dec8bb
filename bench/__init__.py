"""What is measured, and how. docs/explanation/measurement.md explains the method, docs/reference/json.md the JSON."""
