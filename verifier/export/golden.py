"""Texts that every export is scored on: right and wrong steps, short and long, signs of all kinds."""

from __future__ import annotations

GOLDEN_TEXTS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (
        "Janet has 3 boxes of 12 pencils and gives away 5 pencils. How many pencils does she have left?",
        (
            "Step 1: 3 * 12 = <<3*12=36>>36 pencils. ки\nStep 2: 36 - 5 = 31. The answer is: 31 ки",
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
    (
        "Tom runs 2 miles on Monday and twice as far each day after. How far does he run by Thursday?",
        (
            "Step 1: 2 miles.\nStep 2: 2 * 2 = 4.\nStep 3: 4 * 2 = 8.\nStep 4: 8 * 2 = 16.\nStep 5: 2 + 4 + 8 = 14",
        ),
    ),
)
"""(question, solutions), as `verifier.scoring.Verifier.score_many` takes them."""
