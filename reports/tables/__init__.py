"""The report's tables: each is a function from `ReportData` to a `Table`, and raises `MissingDataError` without its data."""
