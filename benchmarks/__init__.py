"""Figures of a real cluster beside what the machine could do in the same run; `README.md` has the method."""
