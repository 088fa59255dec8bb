"""The two revisions: checked out, started as workers, asked for their facts."""
