"""Where pretrained weights and texts come from, checked and cached."""
