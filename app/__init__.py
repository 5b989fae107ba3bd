"""theramap, the application: what runs."""
