"""From the turns of processes to verdicts."""
