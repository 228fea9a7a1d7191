"""Look at a model's small files, and tell what kind of generator it is, before anything heavy is loaded."""

from dataclasses import dataclass

from stable_diffusion.loading.family import PAPER_PIPELINE, is_distilled
from stable_diffusion.loading.folder import check_folder
from stable_diffusion.loading.single_file import check_single_file
from stable_diffusion.loading.source import Noted, find_source


@dataclass(frozen=True)
class Kind:
    """Kind of a generator: the class of diffusers that draws with it, and whether its configuration says it is distilled."""

    pipeline: str = PAPER_PIPELINE
    distilled: bool = False


def kind_of(model: str) -> Kind:
    """Look at a `--model`. Raises `UserError` if it isn't supported, `Unreachable` if that can't be found out."""
    source = find_source(model)
    if source.single_file:
        check_single_file(model, source.path)
        return Kind()
    name = check_folder(source).pipeline
    return Kind(name, is_distilled(name, source))


def noted_kind(noted: Noted) -> Kind:
    """Return the kind of the model that a set was begun with, from the settings that its manifest keeps."""
    return Kind(noted.get("pipeline", PAPER_PIPELINE), noted.get("distilled", False))
