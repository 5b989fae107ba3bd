"""The report on paper: what it says, how its one or two pages are laid out, which fonts write it."""

from operators.results.paper.content import paper_of, title_of
from operators.results.paper.pages import printed
from operators.results.paper.parts import Paper

__all__ = ["Paper", "paper_of", "printed", "title_of"]
