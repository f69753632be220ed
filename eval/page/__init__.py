"""`shepherd report`: runs as one HTML page with a step viewer, and its plots, table and data beside it."""
