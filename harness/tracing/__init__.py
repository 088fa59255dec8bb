"""Which experts each token of a text was sent to, recorded from a model while it reads."""
