"""The layer around a router: its experts, shared experts, and experts that compute nothing."""
