"""Methods to compare AIM-Fair with, by their names in --methods. Each is a file here and an entry below.

A method is a function of a `models.run.Run`. Its parameters may name `biased_model`, a copy of the seed's biased model
to fine-tune, and `synthetic`, the synthetic images (`datasets.synthetic.SyntheticSets`). Its keyword arguments are its
options, with types (`models.options`); an option without a default takes the value of train.py's flag of its name.
"""

from collections.abc import Callable

from torch import nn

from models.methods.auto import auto
from models.methods.criterion import criterion
from models.methods.cvar_dro import cvar_dro
from models.methods.eiil import eiil
from models.methods.ffr import ffr
from models.methods.fine_tuning import BLOCKS, block_methods, blocks_of, cosine, full, random_mask, update_block
from models.methods.group_dro import group_dro
from models.methods.jtt import jtt
from models.methods.last_layer import last_layer
from models.methods.lff import lff
from models.methods.mixtures import repair, supplement, synthetic_only
from models.methods.surgical import surgical

COMPARISONS = {
    # on real images
    "cvar-dro": cvar_dro,
    "lff": lff,
    "jtt": jtt,
    "eiil": eiil,
    "group-dro": group_dro,
    # from scratch, with synthetic images
    "synthetic-only": synthetic_only,
    "supplement": supplement,
    "repair": repair,
    "ffr": ffr,
    # from the biased model, fine-tuned on synthetic images
    "linear-probe": update_block("fc", BLOCKS["fc"], head=True),
    "full": full,
    **block_methods(BLOCKS, BLOCKS["fc"]),
    "random-mask": random_mask,
    "cosine": cosine,
    "criterion": criterion,
    "surgical": surgical,
    "last-layer": last_layer,
    # the best of several
    "auto": auto,
}


def of_network(known: dict[str, Callable], network: nn.Module, head: tuple[str, ...]) -> dict[str, Callable]:
    """Return the methods for a network other than ResNet-18; `head` has the prefixes of its last layer's tensors."""
    others = {name: train for name, train in known.items() if name not in block_methods(BLOCKS, BLOCKS["fc"])}
    probe = update_block(head[0].rstrip("."), head, head=True)
    return others | {"linear-probe": probe} | block_methods(blocks_of(network), head)
