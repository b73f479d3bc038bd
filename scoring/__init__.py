"""Turn scores into decisions: use cases, rules, policy, the scorer and its service."""
