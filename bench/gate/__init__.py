"""The regression gate: two revisions measured in turn, by processes of their own. docs/how-to/gate.md explains it."""
