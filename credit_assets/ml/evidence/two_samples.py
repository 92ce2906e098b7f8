"""Two samples of one variable: how far apart they are, and whether that can be chance.

Belongs here: the population stability index and the tests, on counts alone. Does not belong here: what is compared
with what, and from where on it matters (`drift`, `shadow`); intervals (`intervals`).

The tests hold for any counts, however small. With n rows in the reference and m newer ones, and no shift, every choice
of m among all n + m rows is as likely to be the newer ones: the tests take both samples' values together as given and
ask how these can have been dealt out. So a level that the reference lacks has no expectation of zero: of those that
stand once among all rows, m of n + m are expected among the newer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

LEAST_EXPECTED = 5.0
"""A level with fewer expected rows than this on either side is counted together with the other rare ones."""
_LEAST_SHARE = 1e-4
# Terms beyond this many standard deviations do not change a sum of probabilities.
_DEVIATIONS = 40


def psi(reference: ArrayLike, sample: ArrayLike) -> float:
    """Population stability index of two rows of counts over the same bins; of one feature also called CSI.

    Sum of (a - e) ln(a / e) over the bins, with e and a the shares of the reference and of the sample. 0 means equal
    shares; by custom below 0.10 is stable and above 0.25 shifted. The logarithm has no value at 0: a bin that is empty
    on one side counts as half a row there, and no share as less than 0.0001, so that large samples do not make a rare
    level important. A bin that is empty on both sides does not count.

    Without any shift it is not zero on average (`psi_by_chance`). It does not fall when a bin is divided (floors
    apart): what shows in a part, missing or not, in range or not, is in the whole.
    Source: N. Siddiqi, Credit Risk Scorecards, 2006, chapter 9; B. Yurdakul, Statistical Properties of Population
    Stability Index, 2018.

    Parameters
    ----------
    reference, sample
        Rows in each bin, of both in the same order of bins.

    Returns
    -------
    float
        At least 0.

    Raises
    ------
    ValueError
        Where a side has no rows.

    Examples
    --------
    0.2 ln(5/3) + 0 + 0.2 ln 2:

    >>> round(psi([50, 30, 20], [30, 30, 40]), 4)
    0.2408
    """
    expected, actual = np.asarray(reference, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    if not expected.sum() or not actual.sum():
        raise ValueError("a PSI needs rows on both sides")
    used = (expected > 0) | (actual > 0)
    e, a = _shares(expected)[used], _shares(actual)[used]
    return float(((a - e) * np.log(a / e)).sum())


def psi_by_chance(bins: int, n: int, m: int) -> float:
    """What a PSI is on average without any shift: (B - 1) (1/n + 1/m), for B bins and samples of n and m.

    Times n m / (n + m) a small PSI is Pearson's statistic, whose mean is its degrees of freedom. Holds for bins in
    which either side expects some rows, so that sparse ones must be pooled first.
    Source: B. Yurdakul, Statistical Properties of Population Stability Index, 2018.

    Parameters
    ----------
    bins
        Bins with rows on either side.
    n, m
        Sizes of the samples, above 0.

    Returns
    -------
    float
        At least 0.

    Examples
    --------
    >>> round(psi_by_chance(12, 1_000, 500), 4)
    0.033
    """
    return max(0, bins - 1) * (1 / n + 1 / m)


def _shares(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    rows = float(counts.sum())
    return np.maximum(counts, max(0.5, _LEAST_SHARE * rows)) / rows


def ks_p_value(statistic: float, n: int, m: int) -> float:
    """Probability of a Kolmogorov-Smirnov distance this large between samples of n and m of one distribution.

    2 sum (-1)^(k-1) exp(-2 k^2 l^2) with l = (sqrt(r) + 0.12 + 0.11 / sqrt(r)) D and r = n m / (n + m). Too large (so
    on the safe side) where values have ties.
    Source: M. A. Stephens, Journal of the Royal Statistical Society B 32, 1970.

    Parameters
    ----------
    statistic
        The distance D, 0 .. 1.
    n, m
        Sizes of the samples.

    Returns
    -------
    float
        0 .. 1.

    Examples
    --------
    >>> round(ks_p_value(0.1, 500, 500), 4)
    0.0124
    """
    root = math.sqrt(n * m / (n + m))
    scaled = (root + 0.12 + 0.11 / root) * statistic
    if scaled < 0.3:
        # The series does not converge at zero; below 0.3 the probability is 1 to five digits.
        return 1.0
    terms = (2 * (-1) ** (k - 1) * math.exp(-2 * (k * scaled) ** 2) for k in range(1, 20))
    return min(1.0, max(0.0, math.fsum(terms)))


def chi_squared(reference: ArrayLike, sample: ArrayLike) -> tuple[float, float] | None:
    """Pearson's test that two rows of counts over the same levels come from one distribution.

    Levels that would have fewer than 5 rows on either side are put together first. The statistic is held against a
    gamma distribution with its exact mean and variance over all ways to deal out the rows, which many levels of few
    rows make wider than chi-squared; of many rows the two are the same.
    Source: K. Pearson, Philosophical Magazine 50, 1900; the rule of five, W. G. Cochran, Biometrics 10, 1954; the
    moments, J. B. S. Haldane, Biometrika 31, 1940.

    Parameters
    ----------
    reference, sample
        Rows of each level, of both in the same order of levels.

    Returns
    -------
    tuple of float or None
        Statistic and p-value; None where fewer than two levels remain: nothing can differ.

    Examples
    --------
    2 * 10^2/40 + 2 * 10^2/30, with 2 degrees of freedom:

    >>> statistic, p_value = chi_squared([50, 30, 20], [30, 30, 40])
    >>> round(statistic, 2), round(p_value, 3)
    (11.67, 0.003)
    """
    counts = np.array([reference, sample], dtype=np.float64)
    sizes = counts.sum(axis=1)
    if not sizes.all():
        return None
    rare = sparse(counts[0], counts[1])
    pooled = np.column_stack([counts[:, ~rare], counts[:, rare].sum(axis=1)])
    pooled = pooled[:, pooled.sum(axis=0) > 0]
    if pooled.shape[1] < 2:
        return None
    from scipy.special import gammaincc

    levels, rows = pooled.sum(axis=0), sizes.sum()
    expected = np.outer(sizes, levels) / rows
    statistic = float(((pooled - expected) ** 2 / expected).sum())
    mean, variance = _moments(levels, float(sizes[1]), float(rows))
    return statistic, float(gammaincc(mean**2 / variance, statistic * mean / variance))


def sparse(reference: ArrayLike, sample: ArrayLike) -> NDArray[np.bool_]:
    """Which levels would have fewer than 5 rows on the smaller side, by the rows of both together."""
    counts = np.array([reference, sample], dtype=np.float64)
    sizes = counts.sum(axis=1)
    return np.asarray(counts.sum(axis=0) * sizes.min() / sizes.sum() < LEAST_EXPECTED)


def _moments(levels: NDArray[np.float64], m: float, rows: float) -> tuple[float, float]:
    """Mean and variance of Pearson's statistic over all choices of m among `rows`, of which `levels` have each level.

    The statistic is N^2 / (n m) (S - m^2 / N) with S the sum of a^2 / c, a of the c rows of a level being chosen. The
    moments of S follow from the factorial ones, E[(a)_r (b)_s] = (c)_r (d)_s (m)_(r+s) / (N)_(r+s).
    """
    degrees = len(levels) - 1
    mean = rows / (rows - 1) * degrees
    if float(levels.min()) * min(m, rows - m) / rows > 10 * LEAST_EXPECTED or rows < 8:
        # With this many rows the difference is below a percent, and in the exact sum nearly all digits cancel.
        return mean, 2.0 * mean
    p1 = m / rows
    p2 = p1 * (m - 1) / (rows - 1)
    p3 = p2 * (m - 2) / (rows - 2)
    p4 = p3 * (m - 3) / (rows - 3)
    c, u = levels, levels - 1
    total, squares, number = u.sum(), (u**2).sum(), len(levels)
    once = (u * p2 + p1).sum()
    same = ((u * (c - 2) * (c - 3) * p4 + 6 * u * (c - 2) * p3 + 7 * u * p2 + p1) / c).sum()
    apart = (total**2 - squares) * p4 + 2 * (number - 1) * total * p3 + number * (number - 1) * p2
    variance = (same + apart - once**2) * (rows**2 / (m * (rows - m))) ** 2
    return mean, max(float(variance), 1e-9)


def shares_p_value(k: int, n: int, j: int, m: int) -> float | None:
    """Two-sided p-value that k of n and j of m are one share: Fisher's exact test, the smaller tail doubled.

    Source: R. A. Fisher, Journal of the Royal Statistical Society 98, 1935. Chi-squared, corrected by Yates or not,
    is wrong by orders of magnitude where few are counted: 3 of 500 against 0 of 5,000 has 8e-6 by it, and 1.5e-3.

    Parameters
    ----------
    k, n, j, m
        Counted and all, on either side.

    Returns
    -------
    float or None
        None where all or none of n + m are counted: nothing can differ.

    Examples
    --------
    >>> round(shares_p_value(0, 5_000, 3, 500), 4)
    0.0015
    """
    together, rows = k + j, n + m
    if not n or not m or together in (0, rows):
        return None
    return min(1.0, 2 * min(_dealt_at_least(j, together, n, m), _dealt_at_least(k, together, m, n)))


def _dealt_at_least(j: int, together: int, n: int, m: int) -> float:
    """Probability that of `together` rows among n + m at least j are among the m: hypergeometric."""
    from scipy.special import gammaln

    last = min(together, m)
    share = together / (n + m)
    reach = int(_DEVIATIONS * (1 + math.sqrt(m * share * (1 - share))))
    first, last = max(j, together - n, int(m * share) - reach), min(last, max(j, int(m * share)) + reach)
    if first > last:
        return 0.0
    x = np.arange(first, last + 1, dtype=np.float64)

    def chosen(of: float, some: NDArray[np.float64]) -> NDArray[np.float64]:
        return np.asarray(gammaln(of + 1) - gammaln(some + 1) - gammaln(of - some + 1))

    whole = chosen(n + m, np.array([float(together)]))
    return float(min(1.0, np.exp(chosen(m, x) + chosen(n, together - x) - whole).sum()))


def cell_p_values(reference: ArrayLike, sample: ArrayLike) -> NDArray[np.float64]:
    """Two-sided p-value of every level by itself: whether it has more or fewer rows than its part of both samples.

    Of a level's c rows among both samples, those in the newer one are held against a binomial of c at m / (n + m), the
    smaller tail doubled. Without replacement the tails are lighter (W. Hoeffding, Journal of the American Statistical
    Association 58, 1963), so these are on the safe side, and for a rare level the same. One level of B is told from
    chance where B times its p-value is small (Bonferroni): a rare one that a test of all levels together would drown.

    Parameters
    ----------
    reference, sample
        Rows of each level, of both in the same order of levels, with rows on either side.

    Returns
    -------
    array of float
        1 where a level has no rows.

    Examples
    --------
    1 of 5,000 and 15 of 500:

    >>> bool(cell_p_values([4_999, 1], [485, 15])[1] < 1e-12)
    True
    """
    from scipy.special import betainc

    k, j = np.asarray(reference, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    m_share = j.sum() / (k.sum() + j.sum())
    # P(X >= j) = I_p(j, c - j + 1), the regularized incomplete beta function; certain at j = 0.
    more = np.where(j > 0, betainc(np.maximum(j, 1), k + 1, m_share), 1.0)
    fewer = np.where(k > 0, betainc(np.maximum(k, 1), j + 1, 1 - m_share), 1.0)
    return np.asarray(np.minimum(1.0, 2 * np.minimum(more, fewer)))


def unseen(reference: ArrayLike, sample: ArrayLike) -> tuple[float, float]:
    """How many newer rows are expected in levels that the reference lacks, and the p-value of as many as there are.

    All c rows of a level are among the m newer of N rows with probability h(c) = (m)_c / (N)_c. So without a shift the
    newer rows in levels of their own are W = sum of c I over the levels, I being 1 with that probability; the I of
    different levels are negatively associated (K. Joag-Dev, F. Proschan, Annals of Statistics 11, 1983), by which
    P(W >= w) <= exp(-t w) prod(1 + h (exp(t c) - 1)) for any t > 0 (Chernoff). The p-value is the least of these
    bounds: a large level that appears is told from chance as well as many that stand once.

    Parameters
    ----------
    reference, sample
        Rows of each level of either sample, in the same order of levels.

    Returns
    -------
    tuple of float
        Expected rows, and the p-value: 1 where there are no more than that.

    Examples
    --------
    30 levels stand once, 4 of them in the newer tenth of the rows; then a level of 10 rows in that tenth alone:

    >>> expected, p_value = unseen([874] + [1] * 26 + [0] * 4, [96] + [0] * 26 + [1] * 4)
    >>> round(expected, 1), p_value > 0.5
    (3.0, True)
    >>> unseen([900, 0], [90, 10])[1] < 1e-9
    True
    """
    k, j = np.asarray(reference, dtype=np.float64), np.asarray(sample, dtype=np.float64)
    n, m = float(k.sum()), float(j.sum())
    sizes, levels = np.unique((k + j)[k + j > 0], return_counts=True)
    found = float(j[k == 0].sum())
    within = _all_within(sizes, n, m)
    expected = float((levels * sizes * np.exp(within)).sum())
    if found <= expected:
        return expected, 1.0
    t = np.geomspace(1e-6, 50, 500)[:, None]
    possible = np.isfinite(within)
    h, c = within[possible], sizes[possible]
    with np.errstate(divide="ignore"):
        none = np.log1p(-np.exp(np.minimum(h, 0.0)))
    logarithm = (levels[possible] * np.logaddexp(none, h + t * c)).sum(axis=1) - t[:, 0] * found
    return expected, float(min(1.0, math.exp(float(logarithm.min()))))


def outside_p_value(outside: int, n: int, m: int) -> float | None:
    """Probability that as many of m newer values lie below the least or above the largest of n of one distribution.

    The least and largest r of all N values are among the newer with probability h(r) = (m)_r / (N)_r, and r in all at
    both ends in r + 1 ways: (r + 1) h(r) - r h(r + 1). Values that are equal make it too large, so on the safe side.

    Parameters
    ----------
    outside
        Newer values below or above all of the reference.
    n, m
        Sizes of the samples.

    Returns
    -------
    float or None
        None where a side has no values.

    Examples
    --------
    With as many newer values, 2 are expected; the one beyond is either end's:

    >>> round(outside_p_value(1, 1_000, 1_000), 3)
    0.75
    """
    if not n or not m:
        return None
    here, next_one = np.exp(_all_within(np.array([outside, outside + 1.0]), n, m)).tolist()
    return float(min(1.0, (outside + 1) * here - outside * next_one))


def _all_within(sizes: NDArray[np.float64], n: float, m: float) -> NDArray[np.float64]:
    """Logarithm of the probability that all of c rows are among m of n + m, for each c of `sizes`."""
    from scipy.special import gammaln

    rows, fits = n + m, sizes <= m
    c = np.where(fits, sizes, 0.0)
    logarithm = gammaln(m + 1) - gammaln(m - c + 1) - gammaln(rows + 1) + gammaln(rows - c + 1)
    return np.asarray(np.where(fits, np.minimum(logarithm, 0.0), -np.inf))
