"""How far a run is: the share of its steps or of its time that is over, and of its warm-up; and what is due then.

Knows the state and what was decided; clocks and processes are the loop's.
"""

from gptforge.train.decisions import EVALUATION_SHARE, EVALUATIONS, FORWARD, Decisions
from gptforge.train.state import TrainState

WARMUP_SHARE = 0.1  # of a run of fixed time, the most that its warm-up takes
RESERVE = 1.3  # of the time of an evaluation and a save, kept for the last ones in a run of fixed time


def progress(state: TrainState, decisions: Decisions, val_tokens: int) -> float:
    """The share of the run that is over: of its steps, or of its time without the last evaluation's."""
    if decisions.steps.value is not None:
        return state.step / int(decisions.steps.value)
    whole = decisions.seconds or 0.0
    reserve = RESERVE * (max(state.eval_seconds, eval_cost(state, val_tokens) * whole) + state.save_seconds)
    budget = max(1e-9, whole - reserve)  # the last evaluation and save are in time too
    return min(1.0, max(state.progress, state.seconds / budget))


def eval_cost(state: TrainState, val_tokens: int) -> float:
    """What an evaluation takes of a run of fixed time, by the speed of its training: a share of the run."""
    return FORWARD * val_tokens * state.progress / max(1, state.tokens)


def warm(state: TrainState, decisions: Decisions) -> float:
    """How far the warm-up is, over at 1: counted in steps, in a run of fixed time at most a tenth of it.

    Takes note of the progress at which it ends.
    """
    steps, total = int(decisions.warmup_steps.value or 0), decisions.steps.value
    share = (state.step + 1) / (steps + 1)
    if total is not None:
        state.warmup_end = steps / int(total)
        return share
    share = max(share, state.progress / WARMUP_SHARE)
    if share < 1:
        state.warmup_end = state.progress
    return share


def eval_due(state: TrainState, decisions: Decisions, val_tokens: int) -> bool:
    """Whether the model is to be evaluated after this step."""
    every = decisions.eval_every.value
    if state.progress >= 1.0:
        return True
    if every is not None:
        return state.step % int(every) == 0
    last, now = state.last_eval_progress, state.progress
    affordable = (now - last) * EVALUATION_SHARE >= eval_cost(state, val_tokens)
    return int(now * EVALUATIONS) > int(last * EVALUATIONS) and affordable


def save_due(state: TrainState, decisions: Decisions) -> bool:
    """Whether the run is to be saved after this step, which has been evaluated if that was due."""
    every = decisions.checkpoint_every.value
    if state.progress >= 1.0 or state.best_step == state.step:
        return True
    return state.step % int(every) == 0 if every is not None else state.last_eval_step == state.step
