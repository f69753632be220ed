"""The ground floor: records, steps, answers, config, runs. It imports no torch, and nothing above it."""
