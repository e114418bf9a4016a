"""Queries of people: one function for each question, for the API and the command line alike.

Where `organization` is a parameter, None is the operator, who sees every organization.
"""
