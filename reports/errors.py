"""The two ways in which a report can lack something."""


class ReportError(Exception):
    """A user's mistake, worded for the user: one line that names the file and the reason."""


class MissingDataError(Exception):
    """The files hold no data for one table or figure, which is then left out with this sentence."""
