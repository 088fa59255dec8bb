"""The tables of a report: each function makes a `Table` of `ReportData`, or raises `MissingDataError`."""
