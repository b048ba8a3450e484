"""Operators that push what upstream tasks produced."""
