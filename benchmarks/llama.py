"""The other peer: llama.cpp through llama-cpp-python, in a Python of its own. Knows neither gptforge nor torch.

Its defaults but for two threads, no GPU, and a context of the length that is needed.
"""

import ctypes
import os

from workers import Subject

THREADS = 2
SHOWN = 64  # tokens that are compared
CONTEXT = 512


def continuing(path: str, prompt: list[int]) -> Subject:
    """A unit is one token that goes on from a prompt, by a GGUF file. `facts` has what is written."""
    import llama_cpp as cpp  # pyright: ignore[reportMissingImports]
    import numpy as np

    cpp.llama_backend_init()
    of_model = cpp.llama_model_default_params()
    of_model.n_gpu_layers = 0
    model = cpp.llama_model_load_from_file(path.encode(), of_model)
    if not model:
        raise SystemExit(f"llama.cpp does not load {path}")
    size = cpp.llama_vocab_n_tokens(cpp.llama_model_get_vocab(model))
    of_context = cpp.llama_context_default_params()
    of_context.n_ctx = CONTEXT
    of_context.n_threads = of_context.n_threads_batch = min(THREADS, os.cpu_count() or 1)
    context = cpp.llama_init_from_model(model, of_context)

    def write(n: int) -> list[int]:
        cpp.llama_memory_clear(cpp.llama_get_memory(context), True)
        tokens, written = prompt, []
        for _ in range(n):
            array = (cpp.llama_token * len(tokens))(*tokens)
            if cpp.llama_decode(context, cpp.llama_batch_get_one(array, len(tokens))):
                raise SystemExit("llama.cpp does not decode")
            logits = ctypes.cast(cpp.llama_get_logits(context), ctypes.POINTER(ctypes.c_float))
            written.append(int(np.ctypeslib.as_array(logits, (size,)).argmax()))
            tokens = written[-1:]
        return written

    return Subject(write, {"tokens": write(SHOWN)})
