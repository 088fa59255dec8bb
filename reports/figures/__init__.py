"""The report's figures: each is a function from a study to a `Plot`, and raises `MissingDataError` without its data."""
