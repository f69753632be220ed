"""Group-relative policy optimization of a generator, with outcome or process rewards and guard rails."""
