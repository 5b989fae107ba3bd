"""The report on paper: what it says, how its one or two pages are laid out, which fonts write it."""

from operators.results.paper.content import Paper, paper_of
from operators.results.paper.pages import printed

__all__ = ["Paper", "paper_of", "printed"]
