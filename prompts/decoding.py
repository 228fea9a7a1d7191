"""Settings by which a language model draws its answers, and the default model."""

from dataclasses import dataclass

DEFAULT_MODEL = "Qwen/Qwen2.5-1.5B-Instruct"


@dataclass(frozen=True)
class Decoding:
    """Settings of the drawing of answers. Temperature 0 takes the likeliest word each time."""

    temperature: float
    top_p: float
    max_new_tokens: int
