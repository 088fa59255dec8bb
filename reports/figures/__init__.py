"""The report's figures: each is a function from `ReportData` to a `Plot`, and raises `MissingDataError` without its data."""
