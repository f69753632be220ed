r"""One problem from a row of any known shape, told apart by its fields.

============  ==================================================  =========================================
shape         fields                                              gold answer, kept as text
============  ==================================================  =========================================
shepherd      ``id``, ``question``, ``answer``; a pool line too   ``answer``
gsm8k         ``question``, ``answer`` with ``####``, no ``id``   what follows the last ``####``
svamp         ``Body``, ``Question``, ``Answer`` (``ID``)         ``Answer``; 51.0 is "51"
multiarith    ``input``, ``target``                               ``target``
math          ``problem``, ``solution`` or ``answer``             ``answer``, else the last ``\boxed{}``
============  ==================================================  =========================================

A shape without ids of its own gets the number of the row: ``gsm8k-17`` is the row of line 17.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from shepherd.answers import boxed_text
from shepherd.errors import at
from shepherd.records import Problem

Row = Mapping[str, Any]

KNOWN = (
    "a problem has id, question and answer (this project), question and answer with #### (GSM8K), Body, "
    "Question and Answer (SVAMP), input and target (MultiArith), or problem and solution (MATH)"
)


def parse_problem(row: Row, where: str, line: int) -> Problem:
    r"""Read one problem.

    Raises:
        ShepherdError: with file and line, where a field is missing or of the wrong kind.

    Example:
        >>> parse_problem({"Body": "Dan had 4 candies", "Question": "How many?", "Answer": 4.0}, "f", 1)
        Problem(id='svamp-1', question='Dan had 4 candies. How many?', answer='4', source='svamp')
        >>> parse_problem({"problem": "Add.", "solution": r"So \boxed{3\pi}."}, "f", 2).answer
        '3\\pi'
    """
    if "Body" in row:
        return _svamp(row, where, line)
    if "problem" in row and "question" not in row:
        return _math(row, where, line)
    if "target" in row:
        return _problem(row, "multiarith", "input", row["target"], where, line)
    answer = row.get("answer")
    if "id" not in row and "question" in row and isinstance(answer, str) and "####" in answer:
        return _problem(row, "gsm8k", "question", answer.rpartition("####")[2].strip(), where, line)
    if not {"id", "question", "answer"} & row.keys():
        raise at(where, line, f"a row of no known shape ({', '.join(list(row)[:6])}); {KNOWN}")
    return Problem.from_json(row, where, line)


def question_of(row: Row, where: str, line: int) -> str:
    """The question alone, whatever else the row lacks: for what compares questions.

    Example:
        >>> question_of({"idx": 3, "question": "How many?"}, "pool.jsonl", 3)
        'How many?'
    """
    if isinstance(row.get("question"), str):
        return str(row["question"])
    if "Body" not in row and isinstance(row.get("problem"), str):
        return str(row["problem"])
    return parse_problem(row, where, line).question


def _svamp(row: Row, where: str, line: int) -> Problem:
    for field in ("Body", "Question", "Answer"):
        if field not in row:
            raise at(where, line, f'no "{field}" field; an SVAMP row has Body, Question and Answer')
        if field != "Answer" and not isinstance(row[field], str):
            raise at(where, line, f'"{field}" must be text, found {row[field]!r:.40}')
    body = row["Body"].strip()
    stop = "" if not body or body[-1] in ".!?,;:" else "."
    joined = {"question": f"{body}{stop} {row['Question'].strip()}".strip(), "id": row.get("ID")}
    return _problem(joined, "svamp", "question", row["Answer"], where, line)


def _math(row: Row, where: str, line: int) -> Problem:
    solution = row.get("solution")
    if "answer" not in row and not isinstance(solution, str):
        raise at(where, line, 'no "solution" nor "answer" field; a MATH row has problem and one of them')
    answer = row.get("answer")
    if answer is None and isinstance(solution, str):
        answer = boxed_text(solution)
    named = {"problem": row["problem"], "id": row.get("unique_id") or row.get("id")}
    return _problem(named, "math", "problem", answer, where, line)


def _problem(row: Row, source: str, field: str, answer: object, where: str, line: int) -> Problem:
    if field not in row:
        raise at(where, line, f'no "{field}" field; {KNOWN}')
    if isinstance(answer, float) and answer.is_integer() and abs(answer) < 2**53:
        answer = int(answer)
    identity = row.get("id")
    made = {
        "id": f"{source}-{line}" if identity is None else identity,
        "question": row[field],
        "answer": answer,
        "source": source,
    }
    return Problem.from_json(made, where, line)
