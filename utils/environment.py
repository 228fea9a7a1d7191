"""The machine and software that a process runs on, for its records."""

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from utils.records import ROOT

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "torchvision", "diffusers", "transformers", "numpy", "pandas", "Pillow")


def environment(device: "torch.device") -> dict:
    """Return versions, device, threads and commit, for a record."""
    import torch

    name = (
        torch.cuda.get_device_name(device) if device.type == "cuda" else f"{processor_name()}, {os.cpu_count()} cores"
    )
    return {
        "device": name,
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        "versions": {package: version(package) for package in PACKAGES},
        "commit": commit(),
    }


def commit() -> str:
    """Return the commit of the code that runs, with "+" if it was changed since; "unknown" if no repository holds it."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}  # a hook sets its own
    try:
        options = {"cwd": ROOT, "env": own, "capture_output": True, "text": True, "check": True}
        # an unpacked archive may lie in a repository that doesn't hold it
        subprocess.run(["git", "ls-files", "--error-unmatch", Path(__file__).relative_to(ROOT)], **options)
        head = subprocess.run(["git", "rev-parse", "--short=10", "HEAD"], **options).stdout.strip()
        changed = subprocess.run(["git", "status", "--porcelain", "--untracked-files=no"], **options).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    return head + ("+" if changed else "")


def processor_name() -> str:
    """Return the processor's name, from the system."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        for line in cpuinfo.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
