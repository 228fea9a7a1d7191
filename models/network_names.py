"""Names of networks, in flags and in records."""

import re

TIMM = "timm:"  # prefix of timm's networks
HUB_PAGE = re.compile(r"(?:timm:)?(?:hf[-_]hub:)?timm/")  # prefix of a name on timm's pages of the hub
# Prefixes of timm's networks that rescale their inputs themselves, by the mean and deviation of their configuration.
RESCALING = ("timm:csatv2", "timm:gemma4_vit")


def network_name(text: str) -> str:
    """Return a network's name for records; "hf_hub:timm/NAME" and "timm/NAME", of timm's hub page, become timm:NAME."""
    return f"{TIMM}{text[found.end() :]}" if (found := HUB_PAGE.match(text)) else text


def of_inputs(name: str) -> dict:
    """Return a setting that marks records of networks to which older versions gave inputs of a wrong range."""
    made_otherwise = name in ("googlenet", "inception_v3") or name.startswith(RESCALING)
    return {"inputs": "scaled once"} if made_otherwise else {}
