"""What rounding does to decisions."""
