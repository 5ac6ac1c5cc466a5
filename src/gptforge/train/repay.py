"""Whether compiling repays itself: what it costs and what it saves, by estimate from the config alone.

The constants are nominal, and nothing is timed: compiled and eager arithmetic differ in the last
bits, so a decision by timing, or by what the compile cache happens to hold, could let two starts of
one command end with different weights. Knows no torch.
"""

from gptforge.config import TrainConfig
from gptforge.model.cost import flops_per_token
from gptforge.runtime import Choice, Machine, Runtime

# FLOP/s of eager training, as orders of magnitude that hold for a class of machines. A thread of a CPU:
THREAD_SPEED = {"float32": 40e9, "bfloat16": 70e9}
MOST_THREADS = 32  # more do not make steps of these sizes faster
# A GPU, by capability: (at least, float32, bfloat16)
GPU_SPEEDS = (((9, 0), 25e12, 200e12), ((8, 0), 10e12, 60e12), ((0, 0), 5e12, 5e12))
LAYER_SECONDS = 1.5e-3  # that a GPU needs for one layer in a step, however small, because its kernels are launched

# What compiling saves of a CPU's seconds at width 128: there passes over memory count, in wide models the products,
# which it leaves as they are. Measured: eager / compiled 1.23 for 4 layers of width 128, 1.02 for 6 of width 384; with
# dropout 1.01 and 0.92, for its random numbers are slower than torch's.
CPU_SAVES, CPU_SAVES_AT = 0.19, 128
CPU_MARGIN = 2.0  # how often the cost must be saved: both figures are rough
LEAST_GPU_SECONDS = 60.0  # of a run that is compiled on CUDA, where more is saved than on a CPU


def compile_choice(
    cfg: TrainConfig, runtime: Runtime, machine: Machine, vocab_size: int, steps: int | None, seconds: float | None
) -> Choice:
    """Whether to compile a run of so many steps, or of so many seconds, on a machine that can.

    The cost is that of a first start: a second one finds compiled code in the cache and pays less.
    """
    if seconds is None:
        seconds = run_seconds(cfg, runtime, machine, vocab_size, steps or 0)
    if runtime.device.value == "cuda":
        worth = seconds >= LEAST_GPU_SECONDS
        return Choice(worth, f"the run takes about {rough(seconds)}" + ("" if worth else ": too short to repay it"))
    if cfg.model.dropout or cfg.model.attention.dropout:
        return Choice(False, "saves nothing on a CPU when there is dropout")
    cost, saved = cpu_cost(cfg.model.n_layer), cpu_saving(cfg.model.n_embd) * seconds
    if saved >= CPU_MARGIN * cost:
        return Choice(True, f"saves about {rough(saved)} of {rough(seconds)}, costs {rough(cost)}")
    return Choice(False, f"would cost {rough(cost)} and save about {rough(saved)} of {rough(seconds)}")


def run_seconds(cfg: TrainConfig, runtime: Runtime, machine: Machine, vocab_size: int, steps: int) -> float:
    """A rough estimate of the eager seconds that so many steps take."""
    tokens = steps * cfg.train.batch_size * cfg.model.block_size
    flops = tokens * flops_per_token(cfg.model, vocab_size)
    dtype = str(runtime.dtype.value)
    if runtime.device.value != "cuda":
        return flops / (THREAD_SPEED[dtype] * min(MOST_THREADS, int(runtime.threads.value or 1)))
    capability = machine.cuda_capability or (0, 0)
    _, single, half = next(row for row in GPU_SPEEDS if capability >= row[0])
    return max(flops / (half if dtype == "bfloat16" else single), steps * cfg.model.n_layer * LAYER_SECONDS)


def cpu_saving(n_embd: int) -> float:
    """The share of a training's seconds that compiling saves on a CPU."""
    return CPU_SAVES * min(1.0, CPU_SAVES_AT / n_embd) ** 2


def cpu_cost(n_layer: int) -> float:
    """Seconds that compiling a model's training step takes the first time, on a CPU: each layer is code of its own."""
    return 15.0 + 5.0 * n_layer


def rough(seconds: float) -> str:
    """'25 s', '4 min', '3.5 h': as exact as an estimate is."""
    if seconds < 100:
        return f"{max(1, round(seconds))} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
