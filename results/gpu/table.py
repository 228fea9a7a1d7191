"""The records of the steps as a page. A row says what was found, its value, and, where it is a claim, whether it holds."""

NOTE = "A mark stands where a row is a claim: yes where it holds. The other rows are numbers without a claim."


def verdict(record: dict) -> str:
    """How many of a step's claims hold; of one that didn't finish also the last that it said."""
    claims = [row["holds"] for row in record["rows"] if row.get("holds") is not None]
    text = f"{len(record['rows'])} rows, {sum(claims)} of {len(claims)} claims hold"
    said = record.get("said")
    return f"{text}; it said: {said[-1].strip()}" if said else text


def markdown(records: dict[str, dict]) -> str:
    """All records as a page in Markdown, a section for each step."""
    lines = ["# On a GPU", ""]
    for commands in dict.fromkeys((record.get("command"), record.get("commit")) for record in records.values()):
        lines.append(f"`{commands[0]}` at commit {commands[1]}.")
    lines += ["", NOTE]
    for name, record in records.items():
        lines += ["", f"## {name}: {record['status']}, {record['seconds']:.0f} s", ""]
        if record["rows"]:
            lines += ["| | | holds |", "|---|---|---|"]
            lines += [_row(row) for row in record["rows"]]
        if record.get("said"):
            lines += ["", "The last it said:", "", "```", *record["said"], "```"]
    return "\n".join(lines) + "\n"


def _row(row: dict) -> str:
    mark = {True: "yes", False: "**no**", None: ""}[row.get("holds")]
    return f"| {_cell(row['what'])} | {_cell(row['value'])} | {mark} |"


def _cell(value) -> str:
    if isinstance(value, dict):
        return "; ".join(f"{key} {_cell(inner)}" for key, inner in value.items())
    if isinstance(value, list):
        return ", ".join(map(_cell, value)) or "none"
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text.replace("|", "\\|").replace("\n", " ")
