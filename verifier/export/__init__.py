"""Make of a base and its adapter one model that anyone can load: the one place that merges."""
