"""Turn decisions into labels: the queue of cases and the verdicts."""
