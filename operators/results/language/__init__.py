"""The fixed phrases of results, one file a language: what is said, never what is coded.

Text that comes from elsewhere keeps its language, English: a rule's criterion and citation, names of methods
and organs, reasons and notes.
"""

from operators.results.language.phrases import Phrases, phrases

__all__ = ["Phrases", "phrases"]
