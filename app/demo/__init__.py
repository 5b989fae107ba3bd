"""The demo: a phantom study of known truth, and the MAP run on it."""
