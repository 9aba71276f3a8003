"""Every one-line change that could be planted in a file: in functions that return numbers, and in constants.

What is changed: arithmetic operators and signs, comparisons, numeric constants (off by one where they count or index),
levels of quantiles, pairs of functions (min and max, mean and median, cdf and sf ...), ``axis`` and ``ddof``.
What is left alone, as no number depends on it: texts, errors, annotations, tolerances, limits of time and memory.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

OPERATORS: dict[type[ast.operator], tuple[str, str]] = {
    ast.Add: ("+", "-"),
    ast.Sub: ("-", "+"),
    ast.Mult: ("*", "/"),
    ast.Div: ("/", "*"),
    ast.FloorDiv: ("//", "/"),
    ast.Mod: ("%", "//"),
    ast.Pow: ("**", "*"),
    ast.BitAnd: ("&", "|"),
    ast.BitOr: ("|", "&"),
    ast.LShift: ("<<", ">>"),
    ast.RShift: (">>", "<<"),
}

COMPARISONS: dict[type[ast.cmpop], tuple[str, tuple[str, ...]]] = {
    ast.Lt: ("<", ("<=", ">")),
    ast.LtE: ("<=", ("<", ">=")),
    ast.Gt: (">", (">=", "<")),
    ast.GtE: (">=", (">", "<=")),
    ast.Eq: ("==", ("!=",)),
    ast.NotEq: ("!=", ("==",)),
}

#: Functions and methods that are mistaken for each other. Each goes to the next in its row, the last to the first.
MISTAKEN = (
    *(("min", "max"), ("minimum", "maximum"), ("argmin", "argmax"), ("amin", "amax"), ("fmin", "fmax")),
    *(("nanmin", "nanmax"), ("floor", "ceil"), ("mean", "median"), ("nanmean", "nanmedian"), ("std", "var")),
    *(("cdf", "sf"), ("ppf", "isf"), ("log", "log2"), ("log10", "log"), ("log1p", "log"), ("expm1", "exp")),
    *(("exp", "expm1"), ("cumsum", "cumprod"), ("zeros", "ones"), ("zeros_like", "ones_like")),
)
INSTEAD = {
    name: row[(row.index(name) + 1) % 2] for row in reversed(MISTAKEN) for name in row[: 1 + (row[0] != "log10")]
}

QUANTILES = frozenset({"quantile", "nanquantile", "percentile", "nanpercentile", "ppf", "isf", "kthvalue"})
AXES = frozenset({"axis", "dim"})
DEGREES = frozenset({"ddof", "correction"})

#: Keywords whose number bounds work or is laid out for people.
NO_FORMULA = re.compile(
    r"(indent|width|max_?iter|maxfev|maxsize|.?tol|tolerance|timeout|attempts|chunk\w*|workers|threads|level|stacklevel)$"
)
#: Constants that are limits of time and memory, addresses, versions: no formula.
NO_FORMULA_NAME = re.compile(
    r"(_S|_MS|_BYTES|_CHARS|_ROWS|_PIXELS)$|LIMIT|TIMEOUT|VERSION|PORT|STATUS|CHUNK|BUFFER|BLOCK|STRETCH|WIDTH|HEIGHT|"
    r"COLOU?R|SEED|TOLERANCE|ROUNDING|ATTEMPTS|TRIES|PATIENCE|KEPT|CACHE|MASK|CODE"
)
#: Below this a number guards against rounding and division by zero.
SMALLEST = 1e-6

#: By how much a number of a table is changed: as much as a wrong third digit.
TABLE_SHARE = 0.01

#: Calls whose arguments no result depends on.
SILENT_CALL = re.compile(r"(Error|Warning|warn|print|debug|info|say|perf_counter|isclose|allclose)$")


@dataclass(frozen=True)
class Change:
    """One line of one function (or constant) as it is and as it would be, without indentation."""

    file: str
    where: str
    kind: str
    line: str
    changed: str
    #: Which of the lines of ``where`` that read like ``line``, from 0.
    place: int = 0

    @property
    def package(self) -> str:
        """The package of ours that the file belongs to."""
        return next(part for part in self.file.split("/") if part.startswith("e2lm"))

    @property
    def name(self) -> str:
        """Package and six digits of a hash of everything else, by which a person may refer to the change."""
        told = "\n".join((self.file, self.where, self.line, self.changed, str(self.place)))
        return f"{self.package.removeprefix('e2lm_')}-{sha256(told.encode()).hexdigest()[:6]}"


@dataclass(frozen=True)
class _Edit:
    """Bytes of a line of the file (counted from 1) that become others."""

    kind: str
    row: int
    start: int
    end: int
    text: str


def places(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Qualified name and statement of every function, named constant and field with a default.

    >>> [where for where, _ in places(ast.parse("A = 1.0\\nclass B:\\n    c: int = 2\\n    def d(self): ..."))]
    ['A', 'B.c', 'B.d']
    """
    yield from _places(tree, "")


def _places(parent: ast.AST, prefix: str) -> Iterator[tuple[str, ast.stmt]]:
    for node in getattr(parent, "body", ()):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield prefix + node.name, node
            yield from _places(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.ClassDef):
            yield from _places(node, f"{prefix}{node.name}.")
        elif isinstance(node, ast.Assign | ast.AnnAssign) and not isinstance(parent, ast.FunctionDef):
            target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
            if isinstance(target, ast.Name) and node.value is not None:
                yield prefix + target.id, node
        elif isinstance(node, ast.If | ast.Try | ast.With | ast.For | ast.While):
            yield from _places(node, prefix)


def changes(file: str, source: str, numeric: frozenset[str]) -> list[Change]:
    """Every change of a file, in its order.

    ``numeric`` are the names of types that are numbers, as ``numeric_types`` finds them.

    >>> found = changes("e2lm_x/a.py", "def half(n: float) -> float:\\n    return n / 2\\n", frozenset({"float"}))
    >>> [(one.where, one.kind, one.changed) for one in found]
    [('half', 'operator', 'return n * 2'), ('half', 'constant', 'return n / 1'), ('half', 'constant', 'return n / 3')]
    """
    lines = source.splitlines()
    found: dict[Change, None] = {}
    for where, node in places(ast.parse(source)):
        rows = range(node.lineno, (node.end_lineno or node.lineno) + 1)
        for edit in _edits_of(where, node, numeric, lines):
            before = lines[edit.row - 1].encode()
            after = (before[: edit.start] + edit.text.encode() + before[edit.end :]).decode().strip()
            line = lines[edit.row - 1].strip()
            same = [row for row in rows if lines[row - 1].strip() == line]
            found[Change(file, where, edit.kind, line, after, same.index(edit.row))] = None
    return list(found)


def planted(source: str, change: Change) -> str:
    """The file with the change in it; ``LookupError`` where the line is no longer there.

    >>> planted("def f():\\n    return 1\\n", Change("a.py", "f", "constant", "return 1", "return 2"))
    'def f():\\n    return 2\\n'
    """
    lines = source.splitlines(keepends=True)
    for where, node in places(ast.parse(source)):
        if where == change.where:
            rows = range(node.lineno - 1, node.end_lineno or node.lineno)
            same = [row for row in rows if lines[row].strip() == change.line]
            if change.place < len(same):
                row = same[change.place]
                lines[row] = lines[row].replace(change.line, change.changed)
                return "".join(lines)
    raise LookupError(f"{change.file}: {change.where} has no line {change.line!r}")


def _edits_of(where: str, node: ast.stmt, numeric: frozenset[str], lines: list[str]) -> Iterator[_Edit]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        if returns_numbers(node, numeric):
            for part in (*node.args.defaults, *node.args.kw_defaults, *_without_docstring(node)):
                if part is not None:
                    yield from _edits(part, lines, ())
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value and _is_formula_constant(where, node, numeric):
        yield from (edit for edit in _edits(node.value, lines, ()) if edit.kind in {"constant", "quantile", "sign"})


def returns_numbers(node: ast.FunctionDef | ast.AsyncFunctionDef, numeric: frozenset[str]) -> bool:
    """Whether what a function returns is made of numbers; the exit code of a command is none.

    >>> returns_numbers(ast.parse("def f(a: str) -> list[float]: ...").body[0], frozenset({"float"}))
    True
    """
    taken = " ".join(ast.unparse(one.annotation) for one in node.args.args if one.annotation)
    return node.returns is not None and "Namespace" not in taken and bool(_words(node.returns) & numeric)


def _words(annotation: ast.expr) -> set[str]:
    return set(re.findall(r"\w+", ast.unparse(annotation)))


def _is_formula_constant(where: str, node: ast.Assign | ast.AnnAssign, numeric: frozenset[str]) -> bool:
    """A named constant or default with a fraction in it, or a table of numbers."""
    name = where.rpartition(".")[2]
    if not name.isupper() and not (isinstance(node, ast.AnnAssign) and _words(node.annotation) & numeric):
        return False
    if NO_FORMULA_NAME.search(name.upper()) or node.value is None:
        return False
    numbers = [one.value for one in ast.walk(node.value) if isinstance(one, ast.Constant)]
    numbers = [one for one in numbers if isinstance(one, int | float) and not isinstance(one, bool)]
    return len(numbers) > 2 or any(isinstance(one, float) for one in numbers) or "." in where


def _without_docstring(node: ast.FunctionDef | ast.AsyncFunctionDef) -> list[ast.stmt]:
    return node.body[1:] if ast.get_docstring(node, clean=False) is not None else node.body


def _edits(node: ast.AST, lines: list[str], above: tuple[ast.AST, ...]) -> Iterator[_Edit]:
    """The edits of a node and of what it holds, from the outside in; nested functions stand for themselves."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef | ast.Raise | ast.Assert | ast.JoinedStr):
        return
    if isinstance(node, ast.Call) and SILENT_CALL.search(_called(node)):
        return
    if isinstance(node, ast.keyword) and NO_FORMULA.match(node.arg or ""):
        return
    yield from _own_edits(node, lines, above)
    for name, value in ast.iter_fields(node):
        for child in value if isinstance(value, list) else [value]:
            if isinstance(child, ast.AST) and name not in {"annotation", "keys"}:
                yield from _edits(child, lines, (*above, node))


def _own_edits(node: ast.AST, lines: list[str], above: tuple[ast.AST, ...]) -> Iterator[_Edit]:
    match node:
        case ast.BinOp(left, operator, right) if type(operator) in OPERATORS and not _is_text(left, right):
            old, new = OPERATORS[type(operator)]
            yield from _between("operator", left, right, old, new, lines)
        case ast.AugAssign(target, operator, value) if type(operator) in OPERATORS and not _is_text(target, value):
            old, new = OPERATORS[type(operator)]
            yield from _between("operator", target, value, old + "=", new + "=", lines)
        case ast.Compare(left, [comparison], [right]) if type(comparison) in COMPARISONS and not _is_text(left, right):
            old, instead = COMPARISONS[type(comparison)]
            for new in instead:
                yield from _between("comparison", left, right, old, new, lines)
        case ast.UnaryOp(ast.USub(), ast.Constant()) if _is_axis(above):
            yield _Edit("axis", node.lineno, node.col_offset, node.end_col_offset or 0, "0")
        case ast.UnaryOp(ast.USub(), operand) if operand.lineno == node.lineno:
            yield _Edit("sign", node.lineno, node.col_offset, node.col_offset + 1, "")
        case ast.Call(ast.Name(name) as called) if name in INSTEAD:
            yield _Edit("function", called.lineno, called.col_offset, called.end_col_offset or 0, INSTEAD[name])
        case ast.Call(ast.Attribute(_, name) as called) if name in INSTEAD:
            end = called.end_col_offset or 0
            yield _Edit("function", called.end_lineno or 0, end - len(name.encode()), end, INSTEAD[name])
        case ast.Constant(int() | float() as value) if not isinstance(value, bool):
            kind, instead = _other_numbers(value, above)
            for text in instead:
                yield _Edit(kind, node.lineno, node.col_offset, node.end_col_offset or 0, text)


def _is_axis(above: tuple[ast.AST, ...]) -> bool:
    return bool(above) and isinstance(above[-1], ast.keyword) and above[-1].arg in AXES


def _between(kind: str, left: ast.expr, right: ast.expr, old: str, new: str, lines: list[str]) -> Iterator[_Edit]:
    """The operator between two operands, on one line with them or at the start of the line of the right one."""
    start = (left.end_col_offset or 0) if left.end_lineno == right.lineno else 0
    between = lines[right.lineno - 1].encode()[start : right.col_offset].decode()
    found = re.fullmatch(rf"[\s)]*({re.escape(old)})[\s(]*", between)
    if found:
        at = start + found.start(1)
        yield _Edit(kind, right.lineno, at, at + len(old), new)


def _is_text(*operands: ast.expr) -> bool:
    """Whether one of them is a text, a list or a path, so that no number comes out."""
    return any(
        isinstance(one, ast.JoinedStr | ast.List | ast.Tuple | ast.Dict | ast.Set)
        or (isinstance(one, ast.Constant) and not isinstance(one.value, int | float))
        or bool(re.search(r"(folder|path|root|file|directory|name|text)\w*$", ast.unparse(one).lower()))
        for one in operands
    )


def _called(node: ast.Call) -> str:
    return node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")


def _other_numbers(value: float, above: tuple[ast.AST, ...]) -> tuple[str, tuple[str, ...]]:
    """The kind of a constant, from what stands around it, and what it may become."""
    parent = above[-1] if above else None
    if _is_axis(above):
        return "axis", ("0",) if value else ("-1",)
    if isinstance(parent, ast.keyword) and parent.arg in DEGREES:
        return "ddof", ("0",) if value else ("1",)
    if any(isinstance(one, ast.Call) and _called(one) in QUANTILES for one in above[-3:]):
        return "quantile", _other_levels(value)
    if isinstance(value, int) and isinstance(parent, ast.Slice | ast.Subscript | ast.Compare):
        return "off by one", (str(value + 1), *([str(value - 1)] if value else []))
    in_function = any(isinstance(one, ast.stmt) for one in above)
    return "constant", _near(value, 0.1 if in_function else TABLE_SHARE)


def _other_levels(level: float) -> tuple[str, ...]:
    """A tail half as wide again, and one a third narrower; percents as shares.

    >>> _other_levels(0.95), _other_levels(0.5), _other_levels(25)
    (('0.925', '0.96666667'), ('0.45', '0.55'), ('24', '26'))
    """
    if not 0 < level < 1 or level == 0.5:
        return _near(level)
    tail = min(level, 1 - level)
    return tuple(_float(other if level < 0.5 else 1 - other) for other in (tail * 1.5, tail / 1.5))


def _near(value: float, share: float = 0.1) -> tuple[str, ...]:
    """A share more and as much less; one more and one less where it is a whole number."""
    if isinstance(value, int):
        return (str(value - 1), str(value + 1)) if value else ("1",)
    if value == 0:
        return ("0.1",)
    if not SMALLEST <= abs(value) < float("inf"):
        return ()
    return tuple(_float(value * factor) for factor in (1 - share, 1 + share))


def _float(value: float) -> str:
    text = f"{value:.8g}"
    return text if "." in text or "e" in text else text + ".0"


def numeric_types(sources: dict[str, str]) -> frozenset[str]:
    """Names of the types that are numbers or made of them: arrays, aliases of them, dataclasses of numbers.

    >>> sorted(numeric_types({"a.py": "Array = NDArray[float]\\nclass Curve:\\n    x: Array\\n    y: Array\\n"}))[:3]
    ['Array', 'Curve', 'Forecast']
    """
    known = {"int", "float", "NDArray", "ndarray", "Tensor", "Forecast", "Interval", "ScoreValue"}
    bodies = [node for source in sources.values() for node in ast.parse(source).body]
    while True:
        new = {name for node in bodies for name in _numeric_name(node, known)} - known
        if not new:
            return frozenset(known)
        known |= new


def _numeric_name(node: ast.stmt, known: set[str]) -> Iterator[str]:
    if isinstance(node, ast.ClassDef):
        fields = [one.annotation for one in node.body if isinstance(one, ast.AnnAssign)]
        if fields and 2 * sum(bool(_words(field) & known) for field in fields) > len(fields):
            yield node.name
    elif (
        isinstance(node, ast.Assign) and isinstance(node.value, ast.Subscript) and isinstance(node.targets[0], ast.Name)
    ):
        words = _words(node.value)
        if words & known and not words & {"Callable", "Literal"}:
            yield node.targets[0].id
