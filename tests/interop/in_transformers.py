"""Run by a Python that has some version of transformers: what it makes of a directory, as JSON.

    python in_transformers.py < ASKED

ASKED is {"path", "texts", "tokens", "prompt", "new"}. Knows nothing of gptforge; nothing but from_pretrained is used.
"""

import json
import sys
import warnings

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer


def main() -> None:
    asked = json.load(sys.stdin)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        model = AutoModelForCausalLM.from_pretrained(asked["path"]).eval()
        tokenizer = AutoTokenizer.from_pretrained(asked["path"])
    ids = [tokenizer(text).input_ids for text in asked["texts"]]
    prompt = torch.tensor([asked["prompt"]])
    with torch.no_grad():
        logits = model(torch.tensor(asked["tokens"])).logits
        options = {"attention_mask": torch.ones_like(prompt), "pad_token_id": 0, "use_cache": True}
        written = model.generate(prompt, max_new_tokens=asked["new"], do_sample=False, **options)
    answer = {
        "version": transformers.__version__, "class": type(model).__name__, "dtype": str(model.dtype),
        "ids": ids, "texts": [tokenizer.decode(each) for each in ids], "logits": logits.float().tolist(),
        "written": written[0, prompt.size(1) :].tolist(), "eos": tokenizer.eos_token_id,
        "generation_eos": model.generation_config.eos_token_id, "length": tokenizer.model_max_length,
        "warnings": [str(each.message) for each in told], "chat": None,
    }  # fmt: skip
    if tokenizer.chat_template:
        turns = [{"role": "user", "content": "Hi"}]
        answer["chat"] = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    json.dump(answer, sys.stdout)


if __name__ == "__main__":
    main()
