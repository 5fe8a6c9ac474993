"""Compute with numbers so that every machine and every browser gets the same bits.

Additions, multiplications, divisions and square roots of doubles have one result, by the standard
IEEE 754. Nothing else here rounds: whole numbers, `floor` and `ldexp` are exact. Sums are made in
one fixed order. `live/arithmetic.js` does the same in a page.
"""

import numpy as np

LOWER = 2**32 - 1  # the lower 32 bits of a number
LN2, LN2_HIGH, LN2_LOW = 0.6931471805599453, 0.693147180369123816490, 1.90821492927058770002e-10


def philox(counter, key: tuple[int, int]) -> list[np.ndarray]:
    """Return four random words of 32 bits for a counter of four words and a key of two.

    This is Philox4x32-10 (Salmon and others, 2011). Words of the counter may be arrays.
    """
    a, b, c, d = np.broadcast_arrays(*(np.asarray(word, np.uint64) for word in counter))
    k, m = key
    for _ in range(10):
        first, second = 0xD2511F53 * a, 0xCD9E8D57 * c  # of 64 bits
        a, b, c, d = second >> 32 ^ b ^ k, second & LOWER, first >> 32 ^ d ^ m, first & LOWER
        k, m = k + 0x9E3779B9 & LOWER, m + 0xBB67AE85 & LOWER
    return [a, b, c, d]


def random_words(count: int, seed: int, purpose: int, which: int = 0) -> np.ndarray:
    """Return `count` random whole numbers from 0 to 2**32 - 1, the same for the same arguments.

    `purpose` says what they are for, such as weights, and `which` counts the draws for it.
    """
    blocks = np.arange(-(-count // 4))
    return np.stack(philox((blocks, which, purpose, 0), (seed, 0)), axis=1).ravel()[:count]


def exp(x: np.ndarray) -> np.ndarray:
    """Return e^x for x up to 0: x is r - k ln 2, so e^x is e^r, a short series, halved k times."""
    near = np.where(x > -700, x, 0.0)
    k = np.floor(0.5 - near / LN2)
    r = (near + k * LN2_HIGH) + k * LN2_LOW
    series = np.ones_like(r)
    for n in range(14, 0, -1):
        series = 1 + r * series / n
    return np.where(x > -700, np.ldexp(series, -k.astype(int)), np.where(x <= -700, 0.0, np.nan))


def log(x: np.ndarray) -> np.ndarray:
    """Return ln x for x from 1 on: x is m doubled k times, ln m a series in (m - 1) / (m + 1)."""
    k = np.zeros_like(x)
    while (large := x > 1.4142135623730951).any():
        x, k = np.where(large, x / 2, x), k + large
    f = (x - 1) / (x + 1)
    square, series = f * f, np.zeros_like(f)
    for n in range(23, 0, -2):
        series = series * square + 1 / n
    return k * LN2 + 2 * f * series


def product(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Return the matrix product a b in double precision, each sum from first to last.

    The inner loop of `einsum` runs along a row of b: many sums grow side by side, and none is
    split into parts, if b has two columns or more. The product of two numbers in single
    precision is exact in double, so only the order of the additions matters.
    """
    if b.shape[1] == 1:
        return product(a, np.repeat(b, 2, axis=1))[:, :1]
    return np.einsum("ij,jk->ik", a.astype(float), np.ascontiguousarray(b, float))


def total(values: np.ndarray) -> np.ndarray:
    """Return the sum of the rows of `values` in double precision, one after another."""
    return np.add.accumulate(values, dtype=float)[-1]
