"""The preference loop: roll out, score, pair, aggregate (DAgger), update by DPO, measure; round by round."""
