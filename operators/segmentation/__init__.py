"""From volumes to a mask: one interface for every method, and what the organs make of its mask.

Read in this order: ``segment`` chooses the method that the protocol or the job names, ``engine`` builds it
from the table of methods. ``thresholds`` holds the published ones, with ``components`` and ``sphere`` for
masks and neighbourhoods; ``networks`` runs a lesion package. ``models`` chooses a package (``package``) and
runs it (``network`` on ``engines``); ``organs`` finds the organs by one and puts them to use; ``site`` is
what the site has to say to all of them.
"""
