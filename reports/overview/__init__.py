"""What the first screen of a page answers: how far to trust a run, who is best at what, and a row for each router."""
