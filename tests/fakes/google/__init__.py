"""Doubles of Google's services: the official clients speak to them as to the services."""
