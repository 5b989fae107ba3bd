"""What was measured, as tables, pictures and the model card: all of it made from one record."""
