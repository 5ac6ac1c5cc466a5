"""Hydra's door to gptforge's sweeps; a namespace package, as Hydra wants its plugins."""
