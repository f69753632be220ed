"""Accept/reject pairs made of scored candidates: pure functions, and the file they are kept in."""
