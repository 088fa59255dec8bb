"""Stored runs over commits: what they hold, where a series steps, and the page that shows it."""
