"""`shepherd eval-steps`: how good step scores are, on rows with step labels."""
