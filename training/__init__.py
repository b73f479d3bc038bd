"""Turn labels into better models: batch training, the online learner, evaluation."""
