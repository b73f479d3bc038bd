"""Turn records into features: declarations, histories, the online store and the worker."""
