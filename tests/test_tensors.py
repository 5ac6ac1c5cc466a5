"""Files of tensors from anyone are looked at before anything is made of them."""

import json
import struct

import pytest
import torch

from gptforge import tensors
from gptforge.errors import CheckpointError


def test_what_is_written_is_read(tmp_path):
    held = {"a": torch.arange(6.0).reshape(2, 3), "b": torch.ones(1, dtype=torch.uint8)}
    (tmp_path / "x").write_bytes(tensors.tensor_bytes(held))
    found = tensors.read_tensors(tmp_path / "x")
    assert found.keys() == held.keys() and all(torch.equal(found[name], held[name]) for name in held)


def packed(head: bytes, length: int | None = None, data: bytes = b"") -> bytes:
    return struct.pack("<Q", len(head) if length is None else length) + head + data


ENTRY = {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "no header"),
        (b"\x80\x04", "no header"),
        (packed(b"{}", 1 << 63), "9,223,372,036,854,775,808 bytes"),
        (packed(b" " * 8_000_001), "8,000,001 bytes"),
        (packed(b"{}", 7), "within its header"),
        (packed(b"[]"), "no table"),
        (packed(b'{"a":' * 90_000), "nested too deep"),
        (packed(b"\xff\xff"), "cannot be read"),
        (packed(json.dumps({"a": ENTRY}).encode()), "cannot be read"),
        (packed(json.dumps({"a": ENTRY | {"shape": [1 << 62, 4]}}).encode(), data=b"0000"), "cannot be read"),
        (packed(json.dumps({"a": ENTRY | {"dtype": "F99"}}).encode(), data=b"0000"), "cannot be read"),
    ],
)
def test_what_is_none_is_refused(tmp_path, content, said):
    (tmp_path / "x").write_bytes(content)
    with pytest.raises(CheckpointError, match=said):
        tensors.read_tensors(tmp_path / "x")
