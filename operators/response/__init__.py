"""What the measurements mean: rules, change since the prior, predictions."""
