#!/usr/bin/env python3
"""Prints the tables of docs/training.md: every argument of ft-train by topic, from its --help. Needs target/release/ft-train."""

import re
import subprocess
from pathlib import Path

PROGRAM = Path(__file__).resolve().parent.parent / "target/release/ft-train"
HEADING = re.compile(r"^(\S.*):$")
ARGUMENT = re.compile(r"^ {2}(?:-\w, | {4})(--\S+) ?(.*)$")
# The same in every program, and told by --help.
LEFT_OUT = {"--help", "--version"}


def arguments(text):
    """Yields (heading, name, value, words) of each argument; a default is the end of its words."""
    heading, found = "", []
    for line in text.split("\n"):
        if match := HEADING.match(line):
            heading = match[1]
        elif match := ARGUMENT.match(line):
            found.append((heading, match[1], match[2], []))
        elif found and line.startswith(" " * 10) and line.strip():
            found[-1][3].append(line.strip())
    return [entry for entry in found if entry[1] not in LEFT_OUT]


def cell(words):
    return words.replace("|", "\\|")


def told(lines):
    """What a help text says, in one line; each value that it lists is `value` (what it means)."""
    said, values, default = [], [], ""
    for line in lines:
        if line.startswith("[default: ") and values:
            default = f" {line}"
        elif line == "Possible values:":
            values.append(None)
        elif values and (match := re.match(r"- (\S+):\s+(.*)", line)):
            values.append(f"`{match[1]}` ({match[2]})")
        elif values:
            values[-1] = f"{values[-1][:-1]} {line})"
        else:
            said.append(line)
    listed = ": " + ", ".join(values[1:]) if values else ""
    return cell(" ".join(said) + listed + default)


def main():
    text = subprocess.run([PROGRAM, "--help"], capture_output=True, text=True, check=True).stdout
    last = None
    for heading, name, value, words in arguments(text.split("\nExamples:")[0]):
        if heading != last:
            print(f"\n### {'Model, rows, output' if heading == 'Options' else heading}\n\n| argument | what it is |\n|---|---|")
            last = heading
        called = f"`{name} {cell(value)}`" if value else f"`{name}`"
        print(f"| {called} | {told(words)} |")


if __name__ == "__main__":
    main()
