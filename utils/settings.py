"""Settings as flags: each field of a frozen dataclass describes one flag of a command line."""

import argparse
from dataclasses import field, fields


def flag(default, help: str, *, group: str, **options):
    """Return a dataclass field for a flag: its default, help text, group in --help, and further options of argparse.

    A flag whose default is False takes no value: giving it sets it to True.
    """
    if default is False:
        options["action"] = "store_true"
    return field(default=default, metadata={"help": help, "group": group, **options})


def parse(settings: type, description: str, arguments: list[str] | None = None):
    """Return an instance of a settings class from a command line (this process's by default); lists become tuples."""
    required = "".join(
        f"--{entry.name.replace('_', '-')} {entry.name.upper()} "
        for entry in fields(settings)
        if entry.metadata.get("required")
    )
    parser = argparse.ArgumentParser(
        usage=f"%(prog)s {required}[flags]; --help lists them",  # two screens of flags would hide an error message
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    groups = {}
    for entry in fields(settings):
        options = {key: value for key, value in entry.metadata.items() if key != "group"}
        if not options.get("required") and options.get("action") != "store_true":
            options["default"] = entry.default
        title = entry.metadata["group"]
        groups[title] = groups.get(title) or parser.add_argument_group(title)
        groups[title].add_argument(f"--{entry.name.replace('_', '-')}", **options)
    values = vars(parser.parse_args(arguments))
    return settings(**{name: tuple(value) if isinstance(value, list) else value for name, value in values.items()})
