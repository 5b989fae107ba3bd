"""Foreign models become packages here: once, in a sandboxed process, for digests that the site allowed."""
