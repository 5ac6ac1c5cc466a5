"""What a machine has, as far as that can be told without torch: cores and GPUs. And how jobs share it."""

import os
import shutil
import subprocess


def physical_cores() -> int:
    """Cores this process may use; two hardware threads of one core count once."""
    allowed = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else set(range(os.cpu_count() or 1))
    siblings = set()
    for cpu in allowed:
        try:
            with open(f"/sys/devices/system/cpu/cpu{cpu}/topology/thread_siblings_list", encoding="ascii") as f:
                siblings.add(f.read().strip())
        except OSError:
            return len(allowed)
    return max(1, len(siblings))


def gpus() -> list[str]:
    """The GPUs this process may use, as CUDA_VISIBLE_DEVICES names them; none where there is no NVIDIA driver."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return [name.strip() for name in visible.split(",") if name.strip() not in ("", "-1")]
    tool = shutil.which("nvidia-smi")
    if tool is None:
        return []
    try:
        asked = [tool, "--query-gpu=index", "--format=csv,noheader"]
        said = subprocess.run(asked, capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.SubprocessError):
        return []
    return said.stdout.split() if said.returncode == 0 else []


def shares(names: list[str], n: int) -> list[list[str]]:
    """GPUs for n jobs at a time: each has as many of its own as there are, or several jobs share one."""
    if not names:
        return [[] for _ in range(n)]
    each = len(names) // n
    return [names[i * each : (i + 1) * each] if each else [names[i % len(names)]] for i in range(n)]
