"""The credit-risk work itself, callable from a notebook or any orchestrator.

Takes and returns frames, arrays, paths and plain dataclasses. Never imports dagster, mlflow or kubernetes.
"""
