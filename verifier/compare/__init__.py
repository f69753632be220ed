"""`shepherd compare-heads`: the heads of a verifier trained on the same rows, and measured side by side."""
