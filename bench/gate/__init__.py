"""The regression gate: two revisions measured in turn, by processes of their own. docs/gate.md explains it."""
