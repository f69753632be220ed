"""Read the arithmetic of a step: its equations, its loose numbers, its final answer.

Words between numbers and signs are passed over ("3 boxes * 5 clips = 15 clips"); "plus", "times", "half of",
"20% of" and number words are read as what they say; calculator annotations (``<<3*5=15>>``) are dropped.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction


class MalformedStepError(ValueError):
    """A step whose equation cannot be read, ``3 + = 5`` for one."""


@dataclass(frozen=True)
class Node:
    """An expression: a number (``operation`` None) or an operation on two.

    ``value`` is None after a division by zero.
    """

    value: Fraction | None
    operation: str | None = None
    args: tuple[Node, ...] = ()


Chain = tuple[Node, ...]
"""The sides of ``a = b = c``, two or more."""


@dataclass(frozen=True)
class Claims:
    """What a step states: its equations, the numbers outside them, and the final answer if it gives one."""

    chains: tuple[Chain, ...]
    numbers: tuple[Fraction, ...]
    answer: Fraction | None


_HEADER = re.compile(r"\s*step\s*\d+\s*:", re.IGNORECASE)
_ANNOTATION = re.compile(r"<<[^<>]*>>")
_ANSWER = re.compile(r"the answer is:?\s*(.*)", re.IGNORECASE | re.DOTALL)
_NUMBER = r"\d+(?:,\d{3})+(?:\.\d+)?(?![\d,])|\d+(?:\.\d+)?"
_TOKEN = re.compile(rf"(?P<number>{_NUMBER})|(?P<sign>[-+*/×÷−–()=%])|(?P<word>[^\W\d_]+)|(?P<other>\S)")
_SIGNS = {"×": "*", "÷": "/", "−": "-", "–": "-"}
_WORD_SIGNS = {
    "plus": "+",
    "minus": "-",
    "times": "*",
    "x": "*",
    "over": "/",
    "equals": "=",
    "is": "=",
    "makes": "=",
    "gives": "=",
}
_NUMBER_WORDS = {
    word: Fraction(value)
    for value, word in enumerate(
        [
            "zero", "one", "two", "three", "four", "five", "six",
            "seven", "eight", "nine", "ten", "eleven", "twelve",
        ]
    )
}  # fmt: skip
_PARTS = {"half": 2, "third": 3, "thirds": 3, "quarter": 4, "quarters": 4, "fifth": 5, "fifths": 5}
_MULTIPLES = {"twice": 2, "double": 2, "triple": 3, "dozen": 12}
_OF = re.compile(r"\s*of\b", re.IGNORECASE)
_MAX_TOKENS = 400
_MAX_DIGITS = 24


def read_step(step: str) -> Claims:
    """Parse one step.

    Args:
        step: the step's text without its tag; a ``Step i:`` header is passed over.

    Returns:
        Its claims.

    Raises:
        MalformedStepError: if an equation cannot be read, or the step is far longer than a step can be.

    Example:
        >>> claims = read_step("Step 1: Mia buys 3 * 5 = 15 clips.")
        >>> [side.value for side in claims.chains[0]]
        [Fraction(15, 1), Fraction(15, 1)]
    """
    text = _ANNOTATION.sub("", _HEADER.sub("", step, count=1))
    answer = None
    found = _ANSWER.search(text)
    if found:
        answer = _only_number(found.group(1))
        text = text[: found.start()]
    tokens = _tokens(text)
    chains, used = _chains(tokens)
    loose = tuple(t for i, t in enumerate(tokens) if isinstance(t, Fraction) and i not in used)
    return Claims(chains, loose, answer)


_Token = Fraction | str | None
"""A number, a sign, or None for a word."""


def _only_number(text: str) -> Fraction:
    """The number of "The answer is: 12."; anything but one number is malformed."""
    body = text.strip().rstrip(".").strip().lstrip("$").strip()
    match = re.fullmatch(rf"([-−]?)({_NUMBER})", body)
    if not match:
        raise MalformedStepError(text)
    return _number(match.group(2)) * (-1 if match.group(1) else 1)


def _number(text: str) -> Fraction:
    if len(text) > _MAX_DIGITS:
        raise MalformedStepError("a number of more digits than any problem has")
    return Fraction(text.replace(",", ""))


def _tokens(text: str) -> list[_Token]:
    """Numbers, signs, and None for each run of anything else."""
    tokens: list[_Token] = []
    for match in _TOKEN.finditer(text):
        if len(tokens) > _MAX_TOKENS:
            raise MalformedStepError("too long")
        if match["number"]:
            tokens.append(_number(match["number"]))
        elif match["sign"] == "%":
            # "20% of 45" and "45 * 20%" calculate; in "20% is 9" the 20 is only named
            calculates = _OF.match(text, match.end()) or (len(tokens) > 1 and tokens[-2] == "*")
            tokens.extend(("/", Fraction(100)) if calculates else (None,))
        elif match["sign"]:
            tokens.append(_SIGNS.get(match["sign"], match["sign"]))
        else:
            _read_word((match["word"] or "").lower(), tokens)
    return tokens


def _read_word(word: str, tokens: list[_Token]) -> None:
    last = tokens[-1] if tokens else None
    if (word in _WORD_SIGNS and isinstance(last, Fraction)) or (word in _WORD_SIGNS and last == ")"):
        sign = _WORD_SIGNS[word]
        # "is" is an equals sign only behind a calculation: "3 plus 4 is 7", but not "the number 3 is odd"
        tokens.append(sign if sign != "=" or word == "equals" or _ends_with_calculation(tokens) else None)
    elif word == "of" and isinstance(last, Fraction):
        tokens.append("*")
    elif word in _MULTIPLES:
        tokens.extend(("*",) if isinstance(last, Fraction) else ())
        tokens.append(Fraction(_MULTIPLES[word]))
        if word != "dozen":
            tokens.append("*")
    elif word in _PARTS:
        tokens.extend(
            ("/", Fraction(_PARTS[word])) if isinstance(last, Fraction) else (Fraction(1, _PARTS[word]),)
        )
    elif word in _NUMBER_WORDS:
        tokens.append(_NUMBER_WORDS[word])
    elif word in ("multiplied", "divided"):
        tokens.append("*" if word == "multiplied" else "/")
    elif word == "by" and last in ("*", "/"):
        pass
    elif last is not None or not tokens:
        tokens.append(None)


def _ends_with_calculation(tokens: list[_Token]) -> bool:
    body = [token for token in tokens[-3:] if token is not None]
    return len(body) == 3 and body[1] in ("+", "-", "*", "/")


def _chains(tokens: list[_Token]) -> tuple[tuple[Chain, ...], set[int]]:
    """Each run ``expression = expression (= expression)…``, and the places of the tokens it used."""
    solid = [(i, token) for i, token in enumerate(tokens) if token is not None]
    chains: list[Chain] = []
    used: set[int] = set()
    at = 0
    while at < len(solid):
        if solid[at][1] != "=":
            at += 1
            continue
        floor = max((k + 1 for k, (i, _) in enumerate(solid) if i in used), default=0)
        start = _expression_start(solid, at, floor)
        sides = [_parse([token for _, token in solid[start:at]])]
        end = at
        while end < len(solid) and solid[end][1] == "=":
            stop = _expression_end(solid, end + 1)
            sides.append(_parse([token for _, token in solid[end + 1 : stop]]))
            end = stop
        chains.append(tuple(sides))
        used.update(i for i, _ in solid[start:end])
        at = end
    if not chains and any(token in ("+", "*", "/") for _, token in solid) and _dangling(solid):
        raise MalformedStepError("a sign without its numbers")
    return tuple(chains), used


def _dangling(solid: Sequence[tuple[int, _Token]]) -> bool:
    """Whether the first or last sign of a step lacks an operand."""
    return isinstance(solid[-1][1], str) and solid[-1][1] in "+*/"


def _expression_start(solid: Sequence[tuple[int, _Token]], end: int, floor: int) -> int:
    """Where the expression that ends before ``end`` begins: back over operands and signs in turn."""
    at, want_operand, depth = end, True, 0
    while at > floor:
        token = solid[at - 1][1]
        if token == ")" and want_operand:
            depth += 1
        elif token == "(" and depth and not want_operand:
            depth -= 1
        elif isinstance(token, Fraction) and want_operand:
            want_operand = False
        elif token in ("+", "-", "*", "/") and not want_operand:
            want_operand = True
        else:
            break
        at -= 1
    if want_operand and at < end and solid[at][1] in ("+", "-", "*", "/"):
        # "so - 3 + 4 = 7": a dash that is punctuation belongs to no expression
        return at + 1 if solid[at][1] == "-" else at
    return at


def _expression_end(solid: Sequence[tuple[int, _Token]], start: int) -> int:
    """Where the expression that starts at ``start`` ends: a number, then sign and number while adjacent."""
    at, want_operand, depth = start, True, 0
    while at < len(solid):
        token = solid[at][1]
        if token == "(" and want_operand:
            depth += 1
        elif token == ")" and depth and not want_operand:
            depth -= 1
        elif isinstance(token, Fraction) and want_operand:
            want_operand = False
        elif token in ("+", "-", "*", "/") and not want_operand and at + 1 < len(solid):
            if not (isinstance(solid[at + 1][1], Fraction) or solid[at + 1][1] == "("):
                break
            want_operand = True
        elif token == "-" and want_operand:
            pass
        else:
            break
        at += 1
    return at


def _parse(tokens: list[_Token]) -> Node:
    """Recursive descent over + -, then * /, then numbers and brackets."""
    node, rest = _sum(tokens)
    if rest:
        raise MalformedStepError("unreadable expression")
    return node


def _sum(tokens: list[_Token]) -> tuple[Node, list[_Token]]:
    node, rest = _product(tokens)
    while rest and rest[0] in ("+", "-"):
        right, after = _product(rest[1:])
        node, rest = _apply(str(rest[0]), node, right), after
    return node, rest


def _product(tokens: list[_Token]) -> tuple[Node, list[_Token]]:
    node, rest = _operand(tokens)
    while rest and rest[0] in ("*", "/"):
        right, after = _operand(rest[1:])
        node, rest = _apply(str(rest[0]), node, right), after
    return node, rest


def _operand(tokens: list[_Token]) -> tuple[Node, list[_Token]]:
    if not tokens:
        raise MalformedStepError("an operand is missing")
    head, rest = tokens[0], tokens[1:]
    if isinstance(head, Fraction):
        return Node(head), rest
    if head == "-":
        node, rest = _operand(rest)
        return _apply("-", Node(Fraction(0)), node), rest
    if head == "(":
        node, rest = _sum(rest)
        if rest[:1] != [")"]:
            raise MalformedStepError("a bracket is not closed")
        return node, rest[1:]
    raise MalformedStepError("an operand is missing")


def _apply(operation: str, left: Node, right: Node) -> Node:
    a, b = left.value, right.value
    if a is None or b is None or (operation == "/" and b == 0):
        return Node(None, operation, (left, right))
    value = {"+": a + b, "-": a - b, "*": a * b}.get(operation)
    return Node(a / b if value is None else value, operation, (left, right))
