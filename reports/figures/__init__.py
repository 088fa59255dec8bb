"""The figures of a report: each function makes a `Plot` of `ReportData`, or raises `MissingDataError`."""
