"""Numerical kernels: arrays in, arrays out; numpy and scipy only, no files, no clock, no logging."""
