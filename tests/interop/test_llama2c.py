"""llama2.c's files: written here as its export.py writes them, and computed as its run.c computes."""

import struct
from pathlib import Path

import numpy as np
import pytest
import torch

from gptforge.errors import CheckpointError
from gptforge.interop import directory, llama2c

DIM, HIDDEN, LAYERS, HEADS, KV, VOCAB, LENGTH = 32, 48, 2, 4, 2, 40, 16
HEAD = DIM // HEADS
GROUP = 16


def weights(tied: bool, seed: int = 0) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(seed)

    def drawn(*shape: int) -> np.ndarray:
        return (0.3 * draw.standard_normal(shape)).astype(np.float32)

    w = {"emb": drawn(VOCAB, DIM), "an": 1 + drawn(LAYERS, DIM), "fn": 1 + drawn(LAYERS, DIM), "n": 1 + drawn(DIM)}
    w |= {"q": drawn(LAYERS, DIM, DIM), "k": drawn(LAYERS, KV * HEAD, DIM), "v": drawn(LAYERS, KV * HEAD, DIM)}
    w |= {"o": drawn(LAYERS, DIM, DIM), "w1": drawn(LAYERS, HIDDEN, DIM), "w2": drawn(LAYERS, DIM, HIDDEN)}
    w |= {"w3": drawn(LAYERS, HIDDEN, DIM), "out": w["emb"] if tied else drawn(VOCAB, DIM)}
    return w


def write(path: Path, w: dict[str, np.ndarray], version: int, tied: bool) -> None:
    sizes = (DIM, HIDDEN, LAYERS, HEADS, KV, -VOCAB if not version and not tied else VOCAB, LENGTH)
    matrices = ["emb", "q", "k", "v", "o", "w1", "w2", "w3", *([] if tied else ["out"])]
    if version == 0:
        tables = np.zeros((2, LENGTH, HEAD // 2), np.float32)
        order = [w[name] for name in ("emb", "an", "q", "k", "v", "o", "fn", "w1", "w2", "w3", "n")]
        content = struct.pack("7i", *sizes) + b"".join(x.tobytes() for x in [*order, tables])
        path.write_bytes(content + (b"" if tied else w["out"].tobytes()))
        return
    head = struct.pack("Ii7iB", llama2c.MAGIC, version, *sizes, tied)
    head += struct.pack("i", GROUP) if version == 2 else b""
    body = b"".join(w[name].tobytes() for name in ("an", "fn", "n"))
    for name in matrices:
        layers = w[name] if name not in ("emb", "out") else w[name][None]
        for matrix in layers:
            body += eight_bits(matrix)[0] if version == 2 else matrix.tobytes()
    path.write_bytes(head.ljust(256, b"\0") + body)


def test_groups_that_do_not_go_into_a_matrix_are_refused(tmp_path):
    path = tmp_path / "model.bin"
    write(path, weights(True), 2, True)
    content = bytearray(path.read_bytes())
    for group in (3, 7, 5):
        content[37:41] = struct.pack("i", group)
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match="its length is not that"):
            llama2c.read(path)


def eight_bits(matrix: np.ndarray) -> tuple[bytes, np.ndarray]:
    groups = matrix.reshape(-1, GROUP)
    scales = (np.abs(groups).max(1) / 127).astype(np.float32)
    values = np.round(groups / scales[:, None]).astype(np.int8)
    return values.tobytes() + scales.tobytes(), (values * scales[:, None]).reshape(matrix.shape)


def run_c(w: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """One token after the other, with the rotation of pairs that stand beside each other."""

    def norm(x: np.ndarray, gain: np.ndarray) -> np.ndarray:
        return x / np.sqrt((x * x).mean() + 1e-5) * gain

    def turned(x: np.ndarray, position: int) -> np.ndarray:
        pairs = x.reshape(-1, HEAD // 2, 2)
        angle = position / 10000 ** (np.arange(0, HEAD, 2) / HEAD)
        c, s = np.cos(angle), np.sin(angle)
        return np.stack((pairs[..., 0] * c - pairs[..., 1] * s, pairs[..., 0] * s + pairs[..., 1] * c), -1)

    w = {name: x.astype(np.float64) for name, x in w.items()}
    keys, values, rows = [[] for _ in range(LAYERS)], [[] for _ in range(LAYERS)], []
    for position, token in enumerate(tokens):
        x = w["emb"][token]
        for n in range(LAYERS):
            h = norm(x, w["an"][n])
            q = turned(w["q"][n] @ h, position).reshape(HEADS, HEAD)
            keys[n].append(turned(w["k"][n] @ h, position).reshape(KV, HEAD))
            values[n].append((w["v"][n] @ h).reshape(KV, HEAD))
            y = []
            for head in range(HEADS):
                scores = np.array([k[head // (HEADS // KV)] @ q[head] for k in keys[n]]) / np.sqrt(HEAD)
                share = np.exp(scores - scores.max())
                y.append(sum(p * v[head // (HEADS // KV)] for p, v in zip(share / share.sum(), values[n], strict=True)))
            x = x + w["o"][n] @ np.concatenate(y)
            h = norm(x, w["fn"][n])
            gate = w["w1"][n] @ h
            x = x + w["w2"][n] @ (gate / (1 + np.exp(-gate)) * (w["w3"][n] @ h))
        rows.append(w["out"] @ norm(x, w["n"]))
    return np.stack(rows)


@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("version", [0, 1, 2])
def test_logits_are_those_of_run_c(tmp_path, version, tied):
    w = weights(tied)
    write(tmp_path / "model.bin", w, version, tied)
    found = llama2c.read(tmp_path / "model.bin")
    model = directory.assembled(found.config, found)
    assert model.cfg.tie_embeddings is tied and model.cfg.block_size == LENGTH
    if version == 2:
        w = {k: x if k in ("an", "fn", "n") else eight_bits(x)[1] for k, x in w.items()}
    tokens = [3, 1, 4, 1, 5, 9, 2, 6]
    with torch.no_grad():
        logits = model(torch.tensor([tokens]))[0].numpy()
    np.testing.assert_allclose(logits, run_c(w, tokens), atol=1e-4)


@pytest.mark.parametrize("version", [0, 1, 2])
def test_what_is_no_such_file_is_refused(tmp_path, version):
    path = tmp_path / "model.bin"
    write(path, weights(True), version, True)
    whole = path.read_bytes()
    for content in (b"", b"PK\3\4" * 100, whole[:-4], whole + b"1234", whole[:20], b"\xff" * 300, b"\0" * 300):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"cannot be read|its length is not that"):
            llama2c.read(path)
