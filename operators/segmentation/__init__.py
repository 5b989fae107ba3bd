"""From volumes to a mask: one interface for every engine, and the published threshold methods.

Read in this order: ``segment`` chooses the method that the protocol or the job names, ``engine`` builds
it from the table of methods, ``thresholds`` holds the methods, and ``components`` and ``sphere`` the two
operations on masks and neighbourhoods that they need.
"""
