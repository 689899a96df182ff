"""The words of the service: values, errors and ports. Imports nothing from the rooms above."""
