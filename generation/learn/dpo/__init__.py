"""One DPO update of a policy on given pairs, and what is measured around it."""
