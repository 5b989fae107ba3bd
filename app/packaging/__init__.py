"""The container: its build context, its manifests, and what it checks of itself when it starts."""
