"""What is written: DICOM SEG, structured reports, pictures and ``results.json``.

Every module takes the finished :class:`~operators.domain.Quantified` and a folder, and returns what it
wrote. UIDs and times come from :mod:`~operators.results.identity`, so that the same input gives the same
bytes; codes from :mod:`~operators.results.codes`; text of foreign headers passes
:mod:`~operators.results.headers` before it enters a result.
"""
