"""From the PACS and back: receiver, spool, assembler, priors, delivery, commitment, retention."""
