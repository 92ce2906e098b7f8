"""A lender's own code for credit_assets: a feature, a learner, a gate and a trigger."""
