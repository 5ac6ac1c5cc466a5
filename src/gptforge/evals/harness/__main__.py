"""The lm-evaluation-harness's own command, with `gptforge` among its models.

    python -m gptforge.evals.harness run --model gptforge --model_args ckpt=RUN --tasks hellaswag

The command `lm_eval` itself knows the models that come with it only: it looks for no others.
"""

import sys

from gptforge.errors import UserError
from gptforge.evals.harness import require
from gptforge.notices import say


def main() -> int:
    """What `lm_eval` does; errors of ours in one message, with gptforge's exit codes."""
    try:
        require()
        from lm_eval.__main__ import cli_evaluate  # pyright: ignore[reportMissingImports]

        from gptforge.evals.harness import adapter  # noqa: F401 - registers the model

        cli_evaluate()
    except UserError as e:
        say(f"gptforge: {e}")
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
