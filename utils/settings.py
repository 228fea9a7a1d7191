"""Settings that are flags: a frozen dataclass whose fields describe the flags of a command line."""

import argparse
from dataclasses import field, fields


def flag(default, help: str, *, group: str, **options):
    """A field that is a flag: its default, its help text, the group it is listed under, and argparse's other options."""
    return field(default=default, metadata={"help": help, "group": group, **options})


def parse(settings: type, description: str, arguments: list[str] | None = None):
    """An instance of a settings class from a command line (by default this process's); lists become tuples."""
    required = "".join(
        f"--{e.name.replace('_', '-')} {e.name.upper()} " for e in fields(settings) if e.metadata.get("required")
    )
    parser = argparse.ArgumentParser(
        usage=f"%(prog)s {required}[flags]; --help lists them",  # a message must not drown in two screens of flags
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
