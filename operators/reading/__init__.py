"""A person's answer to an earlier result: an edited segmentation or a verified report."""
