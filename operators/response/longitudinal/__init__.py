"""A prior study beside the current one: where its places are now, what became of its lesions, their names."""
