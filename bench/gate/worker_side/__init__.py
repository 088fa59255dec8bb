"""What a revision's worker does when it is asked."""
