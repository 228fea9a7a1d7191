"""The number of a prompt's tokens for Stable Diffusion, by CLIP's tokenizer, without loading transformers and torch."""

from functools import cache

from tokenizers import Regex, Tokenizer
from tokenizers.models import BPE
from tokenizers.normalizers import NFC, Lowercase, Replace, Sequence
from tokenizers.pre_tokenizers import ByteLevel, Split
from tokenizers.pre_tokenizers import Sequence as Steps

from prompts import TOKENIZER

ENDS = 2  # tokens that mark the beginning and the end of a text
# a piece is an English contraction's end, a run of letters, a digit, or a run of other signs
PIECE = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"


def count_tokens(text: str) -> int:
    """Return the number of a text's tokens, with the two that mark its ends, as transformers' CLIPTokenizer counts them."""
    return len(_tokenizer().encode(text).ids) + ENDS


@cache
def _tokenizer() -> Tokenizer:
    files = (str(TOKENIZER / name) for name in ("vocab.json", "merges.txt"))
    found = Tokenizer(BPE.from_file(*files, end_of_word_suffix="</w>"))
    found.normalizer = Sequence([NFC(), Replace(Regex(r"\s+"), " "), Lowercase()])
    pieces = Split(Regex(PIECE), behavior="removed", invert=True)
    found.pre_tokenizer = Steps([pieces, ByteLevel(add_prefix_space=False)])
    return found
