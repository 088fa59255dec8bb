"""What comes of fine-tuning."""
