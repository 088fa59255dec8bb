"""JSON files checked into records."""
