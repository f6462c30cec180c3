"""Conditions: the language, from checked trees to shapes, values and generated code."""
