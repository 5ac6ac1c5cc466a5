"""How gptforge finds the points of a sweep where they are not every combination; a namespace package."""
