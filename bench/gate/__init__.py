"""The regression gate: two revisions measured in turn, by processes of their own. README.md explains it."""
