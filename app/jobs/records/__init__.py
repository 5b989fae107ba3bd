"""The records of the ledger, a room for each kind; ``transitions`` is what they do in common."""
