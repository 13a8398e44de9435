"""What a notebook declares: the names, types and defaults in its cell tagged ``parameters``.

The cell is parsed and never run. A default may be a literal, arithmetic of numbers, or
``float("nan")``; any other expression is known by its text only.
"""

from __future__ import annotations

import ast
import io
import math
import operator
import textwrap
import tokenize
from dataclasses import dataclass
from pathlib import Path

_ARITHMETIC = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
    ast.Pow: operator.pow,
}
_LARGEST_POWER = 1000  # 10 ** (10 ** 10) would take for ever


@dataclass(frozen=True)
class Declared:
    """One parameter of a notebook.

    Attributes:
        kind: its type, as declared; that of its default where none is declared; empty where that
            tells nothing: None, or an expression that is known when it runs.
        default: its default value; the text of such an expression.
        comment: what the cell says about it, in the same line.
    """

    kind: str
    default: object
    comment: str = ""


def declared(notebook: str | Path) -> dict[str, Declared]:
    """The parameters of a notebook by name; empty where no cell is tagged ``parameters``.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is no notebook, or the cell is no Python.
    """
    for cell in read_notebook(notebook).cells:
        if cell.cell_type == "code" and "parameters" in cell.metadata.get("tags", ()):
            return _of_cell(notebook, cell.source)
    return {}


def described(notebook: str | Path, width: int = 100) -> str:
    """The parameters of a notebook for a terminal: name, type, default and comment of each.

    Args:
        notebook: the notebook.
        width: of the lines, characters.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is no notebook, or the cell is no Python.
    """
    known = declared(notebook)
    if not known:
        return f"{notebook} has no cell tagged 'parameters', so it takes none"
    lines = [f"{notebook} takes these parameters (-p NAME VALUE):", ""]
    for name, one in known.items():
        lines += _beside(f"  {name}{_with_default(one)}", one.comment, width)
    return "\n".join(lines)


def _with_default(one: Declared) -> str:
    """Type and default as a cell has them."""
    if one.kind:
        return f": {one.kind} = {one.default!r}"
    return f" = {one.default}"  # None, or the text of an expression


_LEFT = 38  # characters for a parameter; its comment stands beside it


def _beside(left: str, comment: str, width: int) -> list[str]:
    """A parameter and, beside it, its comment; below it, where it is long."""
    wrapped = textwrap.wrap(comment, width - _LEFT) or [""]
    if len(left) >= _LEFT:
        return [left, *(" " * _LEFT + line for line in wrapped if line)]
    first = f"{left:{_LEFT}s}{wrapped[0]}".rstrip()
    return [first, *(" " * _LEFT + line for line in wrapped[1:])]


def read_notebook(notebook: str | Path):
    """A notebook of any version.

    Raises:
        FileNotFoundError: there is no such notebook.
        ValueError: it is no notebook.
    """
    import nbformat

    if not Path(notebook).is_file():
        raise FileNotFoundError(f"there is no notebook {notebook}")
    try:
        book = nbformat.read(notebook, as_version=4)
        for cell in book.cells:
            if cell.cell_type == "code":  # a run writes these itself
                cell.setdefault("outputs", [])
                cell.setdefault("execution_count", None)
        # Reading only logs what is wrong. More than the format knows does no harm.
        nbformat.validate(book, relax_add_props=True)
        return book
    # nbformat has many errors, and passes on those of JSON and of dictionaries.
    except Exception as error:
        reason = (str(error).splitlines() or [""])[0][:100]
        raise ValueError(f"{notebook} is no notebook ({type(error).__name__}: {reason})") from None


def _of_cell(notebook: str | Path, source: str) -> dict[str, Declared]:
    lines = source.splitlines()
    for number, line in enumerate(lines):
        if line.lstrip().startswith(("%", "!")):  # a command of IPython
            lines[number] = ""
    try:
        tree = ast.parse("\n".join(lines))
    except SyntaxError as error:
        raise ValueError(
            f"{notebook}: the cell tagged 'parameters' is no Python in line {error.lineno}"
        ) from None
    except (ValueError, RecursionError, MemoryError) as error:  # such as too many signs in a row
        raise ValueError(
            f"{notebook}: the cell tagged 'parameters' cannot be read ({type(error).__name__})"
        ) from None
    comments = _comments("\n".join(lines))
    found = {}
    for node in tree.body:
        if isinstance(node, ast.AnnAssign) and node.value is not None:
            targets, kind = [node.target], _written(node.annotation)
        elif isinstance(node, ast.Assign):
            targets, kind = node.targets, None
        else:
            continue
        default, own_kind = _value(node.value)
        for target in targets:
            if isinstance(target, ast.Name):
                comment = comments.get(node.end_lineno, "")
                found[target.id] = Declared(kind or own_kind, default, comment)
    return found


def _comments(source: str) -> dict[int, str]:
    """The comments of Python source by their line, from 1."""
    found = {}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            found[token.start[0]] = token.string.lstrip("# ").rstrip()
    return found


def _written(annotation: ast.expr) -> str:
    """A type as it is written, without the quotes that it may have."""
    if isinstance(annotation, ast.Constant) and isinstance(annotation.value, str):
        return annotation.value
    return ast.unparse(annotation)


def _value(node: ast.expr) -> tuple[object, str]:
    """The value of a default and its type; its text if that cannot be told without running it."""
    try:
        found = ast.literal_eval(node)
    except (ValueError, TypeError):  # the latter of a list as a key
        try:
            found = _number(node)
        except (ValueError, ArithmeticError):
            return ast.unparse(node), ""
    if found is None:
        return None, ""
    return found, type(found).__name__


def _number(node: ast.expr) -> int | float:
    """The value of arithmetic on numbers.

    Raises:
        ValueError: it is something else.
        ArithmeticError: it has no value, such as 1 / 0.
    """
    if isinstance(node, ast.Constant) and type(node.value) in (int, float):
        return node.value
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        return -_number(node.operand)
    if isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        left, right = _number(node.left), _number(node.right)
        if isinstance(node.op, ast.Pow) and max(abs(left), abs(right)) > _LARGEST_POWER:
            raise ValueError
        return _ARITHMETIC[type(node.op)](left, right)
    if isinstance(node, ast.Call) and ast.unparse(node) in ("float('nan')", "float('inf')"):
        return float(node.args[0].value)
    if ast.unparse(node) in ("math.pi", "np.pi"):
        return math.pi
    raise ValueError
