"""Tasks of the lm-evaluation-harness (Gao et al., 2021) with models of gptforge; needs the extra `eval`.

Of its modules, `adapter`, `run` and `__main__` know the harness; the others know requests and models only.
"""

import importlib.util
import os

from gptforge.errors import missing_extra


def require(bars: bool = True) -> None:
    """Raises UserError if the harness is not installed; loads nothing. Without `bars` it will draw none on stderr."""
    if importlib.util.find_spec("lm_eval") is None:
        raise missing_extra("eval", "running tasks of the lm-evaluation-harness")
    if not bars:
        os.environ.setdefault("TQDM_DISABLE", "1")  # read as the harness is imported, which draws them with tqdm
