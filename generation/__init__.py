"""Answers made and made better: samplers, pools, reranking, and the small world that needs no hub."""
