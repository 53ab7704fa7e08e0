"""Generic maths compiled with Numba: no detector, no table, no file in sight."""
