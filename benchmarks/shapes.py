"""The shapes that are measured, as both sides are told them. Numbers and words only."""

from dataclasses import asdict, dataclass, replace

CHARACTERS = 65  # of tinyshakespeare
BPE = 50257  # of GPT-2

# GPT-2's architecture in gptforge's keys, whatever the default option of model= is
GPT2_PARTS = [
    "model.bias=true",
    "model.position=learned",
    "model.mlp.kind=gelu",
    "model.norm.kind=layernorm",
    "model.tie_embeddings=true",
    "model.attention.qk_norm=false",
    "model.init_residual=scaled",
]


@dataclass(frozen=True, slots=True)
class Shape:
    """A model's size and how many sequences a step has."""

    n_layer: int
    n_head: int
    n_embd: int
    block_size: int
    vocab_size: int
    batch_size: int

    @property
    def sizes(self) -> dict[str, int]:
        """What the baselines are told of the model."""
        return {name: value for name, value in asdict(self).items() if name != "batch_size"}

    @property
    def words(self) -> list[str]:
        """What gptforge is told of the model: a GPT-2 of this size."""
        sized = [f"model.{name}={value}" for name, value in self.sizes.items() if name != "vocab_size"]
        return [*GPT2_PARTS, *sized]

    @property
    def batch_words(self) -> list[str]:
        """The whole batch at once, whatever memory is free beside the other processes."""
        return [f"train.batch_size={self.batch_size}", f"train.micro_batch_size={self.batch_size}"]


SAME_OPTIMIZER = "optimizer=adamw"  # as on the other side, where steps are compared and not recipes


BABY = Shape(6, 6, 384, 256, CHARACTERS, 16)  # 10.7 M parameters
GPT2 = Shape(12, 12, 768, 256, BPE, 8)  # 124 M parameters, a quarter of its context
TINY = Shape(1, 2, 32, 32, CHARACTERS, 4)  # for --quick


def of(shape: Shape, quick: bool) -> Shape:
    """The shape, or a tiny one with its vocabulary's kind."""
    return replace(TINY, vocab_size=min(shape.vocab_size, 512)) if quick else shape
