"""The door by which MLflow loads a registered model: every version carries this module's name, so that it stays.

Belongs here: nothing else. The scorer itself is `credit_assets.ml.learners.scorer`.
"""

from credit_assets.ml.learners.scorer import _load_pyfunc

__all__ = ["_load_pyfunc"]
