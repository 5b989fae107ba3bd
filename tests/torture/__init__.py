"""The crash test: everything is killed, filled, locked and unplugged while studies come in.

``python -m tests.torture --kills 200`` (``make torture``) is the long form; a short one is a test.
At the end every acknowledged instance must lie in the spool bit for bit, and every study must have
exactly one current set of results in every destination.
"""
