"""What housing typically costs, as a share of income: a change of a number here is a change of the feature."""

SHARE_OF_INCOME = {"RENT": 0.30, "MORTGAGE": 0.25, "OWN": 0.10}
ELSEWHERE = 0.20
