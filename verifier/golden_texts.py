"""Texts on which engines are compared, and an export with its source: all that has gone wrong somewhere.

One step and many, right and wrong, no steps, a tag as a word of question and step, other scripts, signs of
arithmetic, blanks and empty lines, a long text.
"""

from __future__ import annotations

_LONG = tuple(
    f"Step {day}: On day {day} he saves {day} * 3 = <<{day}*3={3 * day}>>{3 * day} coins, "
    f"so he has {3 * day * (day + 1) // 2} coins."
    for day in range(1, 21)
)

GOLDEN_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("What is 2 + 2?", ("Step 1: 2 + 2 = 4. The answer is: 4 ки", "Step 1: 2 + 2 = 5. The answer is: 5 ки")),
    (
        "Janet has 3 boxes of 12 pencils and gives away 5 pencils. How many pencils does she have left?",
        (
            "Step 1: She has 3 * 12 = <<3*12=36>>36 pencils. ки\nStep 2: 36 - 5 = 31. The answer is: 31 ки",
            "Step 1: She has 3 + 12 = 15 pencils. ки\nStep 2: 15 - 5 = 10. The answer is: 10 ки",
        ),
    ),
    (
        "A shirt costs $20 and is 25% off. What does it cost now?",
        (
            "25% of 20 is 5.\n20 - 5 = 15.\n#### 15",
            "25% of 20 is 4.\n20 - 4 = 16.\nThen tax is added.\n16 + 1 = 17.\n#### 17",
        ),
    ),
    (
        "Was ist x, wenn x − 7 = −3 ist?",
        ("Step 1: x = −3 + 7 ки\nStep 2: x = 4. The answer is: 4 ки", "x = −10"),
    ),
    ("Том купил 3 книги и ещё 4. Сколько книг?", ("Step 1: 3 + 4 = 7 книг. The answer is: 7 ки",)),
    ("小明有3个苹果。又买了4个。一共有几个", ("Step 1: 3 + 4 = 7 个。🍎 ки\nStep 2: The answer is: 7 ки",)),
    ("Is ки a word?", ("Step 1: ки is two letters. ки\nStep 2: The answer is: no ки",)),
    (
        "Tom runs 2 miles on Monday and twice as far each day after. How far does he run by Thursday?",
        ("Monday: 2 miles.\nTuesday: 2 * 2 = 4 miles.\n4 * 2 = 8 miles.\nThen 16.\nThe answer is: 30",),
    ),
    (
        "What is the value of \\frac{3}{4} \\times 16?",
        (
            "Step 1: \\frac{3}{4} \\times 16 = 3 \\times 4 = \\boxed{12} ки",
            "Step 1: (3/4)*(16) = 11 + - + - ки",
        ),
    ),
    (
        "How many legs do 3 cats have?",
        ("", "12", "\n\n  Step 1: 3 * 4 = 12.  \n\n\nStep 2:\tThe answer is: 12\n"),
    ),
    (
        "A café sells naïve art for £1,200.50 each. What do two cost?",
        ("Step 1: 2 × £1,200.50 = £2,401.00 – so “two” cost £2,401. ки",),
    ),
    ("He saves 3 coins more each day than the day before. How many after 20 days?", ("\n".join(_LONG),)),
)
"""(question, solutions), as `verifier.scoring.Verifier.score_many` takes them."""
