"""Run by a Python that has llama-cpp-python: what llama.cpp makes of a GGUF file, as JSON.

    python in_llama_cpp.py < ASKED

ASKED is {"path", "texts", "prompts", "new"}: the answer has the ids of each text, and of each prompt (of ids) the most
likely continuation of `new` tokens with the logits before each. Knows neither gptforge nor torch.
"""

import ctypes
import json
import sys

import llama_cpp as cpp
import numpy as np

F32 = 0  # ggml's number of the type


def main() -> None:
    asked = json.load(sys.stdin)
    cpp.llama_backend_init()
    options = cpp.llama_model_default_params()
    options.n_gpu_layers = 0
    model = cpp.llama_model_load_from_file(asked["path"].encode(), options)
    if not model:
        sys.exit("llama.cpp does not load it")
    vocabulary = cpp.llama_model_get_vocab(model)
    size = cpp.llama_vocab_n_tokens(vocabulary)
    found = [greedy(model, size, prompt, asked["new"]) for prompt in asked["prompts"]]
    answer = {"ids": [ids(vocabulary, text) for text in asked["texts"]]}
    answer |= {"written": [tokens for tokens, _ in found], "logits": [logits for _, logits in found]}
    answer["eos"] = cpp.llama_vocab_eos(vocabulary)
    json.dump(answer, sys.stdout)


def ids(vocabulary, text: str) -> list[int]:
    """No special tokens are added, and none is read out of the text."""
    content = text.encode()
    room = (cpp.llama_token * (len(content) + 8))()
    n = cpp.llama_tokenize(vocabulary, content, len(content), room, len(room), False, False)
    assert n >= 0
    return list(room[:n])


def greedy(model, size: int, prompt: list[int], new: int) -> tuple[list[int], list[list[float]]]:
    """All in float32 but for what the weights' format makes llama.cpp do."""
    options = cpp.llama_context_default_params()
    options.n_ctx, options.n_batch, options.n_ubatch = len(prompt) + new, 512, 512
    options.n_threads = options.n_threads_batch = 1
    options.type_k = options.type_v = F32
    options.flash_attn_type = 0
    context = cpp.llama_init_from_model(model, options)
    assert context
    tokens, written, logits = prompt, [], []
    for _ in range(new):
        array = (cpp.llama_token * len(tokens))(*tokens)
        assert cpp.llama_decode(context, cpp.llama_batch_get_one(array, len(tokens))) == 0
        row = np.ctypeslib.as_array(ctypes.cast(cpp.llama_get_logits(context), ctypes.POINTER(ctypes.c_float)), (size,))
        written.append(int(row.argmax()))
        logits.append([float(x) for x in row])
        tokens = written[-1:]
    cpp.llama_free(context)
    return written, logits


if __name__ == "__main__":
    main()
