"""How long the sequences are that a step learns from: short ones first. Knows how far the run is, no data.

What follows from the last few tokens is learnt first, and many short sequences teach it in fewer steps than few long
ones of as many tokens do, with less arithmetic. The tokens and their order stay the same; a window is only cut.
Sequence length warm-up is from Li et al. 2021 (arXiv:2108.06084); the two stages are ours (docs/experiments.md).
"""

STAGES = (4, 2)  # pieces of a window in the first and the second half of the warm-up
LARGEST_SHARE = 0.5  # of a run, that the warm-up takes


def pieces_at(warmup_steps: int, step: int, progress: float) -> int:
    """Into how many pieces windows are cut after `step` steps, when a share `progress` of the run is over."""
    if not warmup_steps:
        return 1
    over = max(step / warmup_steps, progress / LARGEST_SHARE)
    return STAGES[int(len(STAGES) * over)] if over < 1 else 1


def lengths(warmup_steps: int, block_size: int) -> list[int]:
    """The lengths of sequences that a run has, in order."""
    return [-(-block_size // pieces) for pieces in ((*STAGES, 1) if warmup_steps else (1,))]
