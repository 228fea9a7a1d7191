"""Whether a model's weights are on this machine, and how much is to be fetched where they aren't."""

from stable_diffusion.folder import weight_files
from stable_diffusion.source import Source, Unreachable, find_source


def not_here(model: str) -> str:
    """Why a model can't be loaded without fetching it; "" where it can."""
    try:
        source = find_source(model)
    except Unreachable as error:
        return str(error)
    if not source.hub:
        return ""
    lacking = [name for name in weight_files(source) if not (source.path / name).exists()]
    if not lacking:
        return ""
    count = download_size(source, lacking)
    return f"{model} is yet to be fetched{f', {count / 1e9:.1f} GB' if count else ''}"


def download_size(source: Source, names: list[str]) -> int | None:
    """The bytes of some files of a model of the hub; None where it doesn't say."""
    from huggingface_hub import HfApi

    try:
        files = HfApi().model_info(source.name, files_metadata=True).siblings
        sizes = {file.rfilename: file.size for file in files}
        return sum(sizes[name] for name in names)
    except Exception:  # the hub's client, the network, a size that it doesn't know: an estimate goes without
        return None
