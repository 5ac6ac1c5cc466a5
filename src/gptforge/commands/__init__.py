"""One file per verb: `run(config, call)` returns the exit code."""
