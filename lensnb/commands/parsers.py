"""How all commands look: one sentence in the list, and examples in their own help."""

from __future__ import annotations

import argparse


def add_command(
    commands,
    name: str,
    help: str,
    examples: str,
    description: str | None = None,
    usage: str | None = None,
) -> argparse.ArgumentParser:
    """Add a command to the parser of ``lensnb``.

    Args:
        commands: the subparsers of ``lensnb``.
        name: of the command.
        help: what it does, in the list of all commands.
        examples: command lines, one a line, each with a few words beside it.
        description: what it does, at the top of its own help; by default the same sentence.
        usage: its form, where argparse would not know all of it.
    """
    if description is None:
        description = help[0].upper() + help[1:] + "."
    return commands.add_parser(
        name,
        help=help,
        description=description,
        epilog=f"examples:\n{indented(examples)}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        usage=usage,
    )


def indented(examples: str) -> str:
    """Lines with two spaces before each."""
    return "\n".join(f"  {line}" for line in examples.strip().splitlines())


def add_device(command: argparse.ArgumentParser) -> None:
    """The option ``--device``."""
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")


def read_source(text: str) -> int | str | tuple[float, ...]:
    """A number, a pair of redshifts with a comma between, or a name."""
    if "," in text:
        return tuple(float(part) for part in text.split(","))
    if text.isdigit():
        return int(text)
    return text
