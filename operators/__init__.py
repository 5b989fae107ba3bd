"""What the MAP does: a folder for each step, in the order of flow."""
