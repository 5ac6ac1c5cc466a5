"""A finished model on several processes: each computes its share of a batch, and the gradients are summed over all.

The wrapper is put around the model, never into its place: parameters keep their names, and what saves, evaluates or
samples goes on using the model itself. Knows nothing of losses and optimizers.
"""

import contextlib
from contextlib import AbstractContextManager

import torch.distributed as c10d
from torch import Tensor, nn
from torch.futures import Future
from torch.nn.parallel import DistributedDataParallel

from gptforge.dist import Dist


def share(batch_size: int, dist: Dist) -> slice:
    """The rows of the global batch that this process computes: one contiguous part of it.

    Of the batch, not of each micro-batch: a process then reads its rows at one go, and they stay the same when the
    size of the micro-batches changes.
    """
    rows = batch_size // dist.world_size
    return slice(dist.rank * rows, (dist.rank + 1) * rows)


def replicated(model: nn.Module, dist: Dist) -> nn.Module:
    """The model as it is called in training: its backward pass leaves the gradients of all processes, summed.

    Overlapping the sums with the backward pass is torch's (Li et al. 2020, arXiv:2006.15704). Alone, the model itself.
    """
    if dist.world_size == 1:
        return model
    wrapper = DistributedDataParallel(model, gradient_as_bucket_view=True)
    wrapper.register_comm_hook(None, summed)
    return wrapper


def summed(_: None, bucket: c10d.GradBucket) -> Future[Tensor]:  # type: ignore[reportPrivateImportUsage]
    """Sums a bucket of gradients over all processes, where DDP would take their mean.

    A loss is divided by the learnt tokens of all processes before its backward pass, so the sum of the gradients is
    that of the whole batch, however the tokens are spread. A mean of means weighs rows with few learnt tokens more.
    """
    work = c10d.all_reduce(bucket.buffer(), async_op=True)
    assert work is not None
    return work.get_future().then(lambda done: done.value()[0])


def accumulated(model: nn.Module, last: bool) -> AbstractContextManager[object]:
    """Around a micro-batch, forward and backward: only after the last one are gradients exchanged."""
    if last or not isinstance(model, DistributedDataParallel):
        return contextlib.nullcontext()
    return model.no_sync()
