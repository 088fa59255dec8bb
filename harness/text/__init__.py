"""Text to train, calibrate and evaluate on."""
