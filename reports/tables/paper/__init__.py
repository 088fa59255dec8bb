"""The paper's numbers and claims beside this run's."""
