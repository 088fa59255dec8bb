"""The report's tables: each is a function from a study to a `Table`, and raises `MissingDataError` without its data."""
