"""Exact neighbours among features at the cost of matrix products.

Distances are screened by matrix products whose rounding errors are bounded; a decision that falls
within the bound is taken from the differences of the features in float64. So every decision is that
of brute force in float64.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from metrics.matrices import ROWS, mean_row, product, tiles
from metrics.memory import remember

SPARE = 8
"""Neighbours kept beyond those asked for, among which rounding may have changed the order."""

SPAN = 16
"""Columns of a group, by whose minimum they are ruled out together."""

PAIRS = 1 << 18
"""Coordinates of pairs whose differences are taken at a time."""


class Members(NamedTuple):
    """The images of one set that lie in balls around those of the other, int64.

    `holders` [M] counts the real balls that hold a generated image, `held` [N] the generated images
    that a real ball holds, `one_held` [N] being one of these where there are any; `recalled` [N]
    is 1 for a real image that a generated image's ball holds, else 0.
    """

    holders: Tensor
    held: Tensor
    one_held: Tensor
    recalled: Tensor


class Frame(NamedTuple):
    """A centre [d] and a power of two by which features come near the unit ball."""

    centre: Tensor
    scale: float


class Tile(NamedTuple):
    """Some rows of features in a frame, and their squared norms in float64."""

    rows: slice
    values: Tensor
    norms: Tensor


@remember
def find_radii(features: Tensor, k: int) -> Tensor:
    """Return every row's squared distance to its k-th neighbour among the others, float64 [N]."""
    return find_neighbors(features, features, k, within=True)[0]


def count_members(real: Tensor, fake: Tensor, k: int) -> Members:
    """Find who lies in the open balls that reach to every row's k-th neighbour in its own set."""
    real_radii, fake_radii = find_radii(real, k), find_radii(fake, k)
    frame = _frame(real, fake)
    columns = _cut_all(fake, frame, _precisions(fake)[0])
    holders = torch.zeros(len(fake), dtype=torch.int64, device=fake.device)
    held, one_held, recalled = torch.zeros(3, len(real), dtype=torch.int64, device=real.device)
    for rows in tiles(len(real)):
        row = _cut(real, frame, rows, _precisions(real)[0])
        for column in columns:
            i, j, squares = _find_close(real, fake, row, column, frame, real_radii, fake_radii)
            inside = (squares < real_radii[i]) | (squares == 0)
            holders += j[inside].bincount(minlength=len(fake))
            held += i[inside].bincount(minlength=len(real))
            one_held[i[inside]] = j[inside]
            recalled[i[(squares < fake_radii[j]) | (squares == 0)]] = 1
    return Members(holders, held, one_held, recalled)


def _find_close(
    real: Tensor, fake: Tensor, a: Tile, b: Tile, frame: Frame, in_real: Tensor, in_fake: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pairs of two tiles that may lie in one of their balls, and squared distances.

    These are on the right side of both radii; where that is in doubt they are exact.
    """
    low = _lower_bound(a, b)
    ends = [(one[tile.rows] * frame.scale**2) for one, tile in ((in_real, a), (in_fake, b))]
    reach = torch.maximum(ends[0].to(low)[:, None], ends[1].to(low))
    beyond = torch.sub(low, reach, out=reach)
    i, j, _ = _find_small(beyond, lambda _: low.new_zeros(len(low)))
    below = low[i, j].double()
    above = below + _slack(a.norms[i], b.norms[j], a.values)
    doubt = torch.zeros_like(i, dtype=torch.bool)
    for end in (ends[0][i], ends[1][j]):
        doubt |= (below <= end) & (above >= end)
    finer = _precisions(real)[-1]
    if 64 * doubt.sum() > low.numel() and a.values.dtype != finer:
        a, b = _cut(real, frame, a.rows, finer), _cut(fake, frame, b.rows, finer)
        return _find_close(real, fake, a, b, frame, in_real, in_fake)
    i, j = i + a.rows.start, j + b.rows.start
    squares = below / frame.scale**2
    squares[doubt] = _square_distances(real, fake, i[doubt], j[doubt])
    return i, j, squares


def find_neighbors(x: Tensor, y: Tensor, k: int, *, within: bool) -> tuple[Tensor, Tensor]:
    """Find the k-th nearest row of y for every row of x, which is y itself if `within`.

    Returns:
        Squared distances, float64 [n], and rows of y, int64 [n]: the first of several that are as
        near. No row is its own neighbour.
    """
    for dtype in _precisions(x):
        squares, index, unsure = _screen(x, y, k, dtype, within=within)
        if 64 * len(unsure) <= len(x):
            break
    for rows in unsure.split(ROWS // 8):
        squares[rows], index[rows] = _search_closely(x, y, k, rows, within=within)
    return squares, index


def _search_closely(
    x: Tensor, y: Tensor, k: int, rows: Tensor, *, within: bool
) -> tuple[Tensor, Tensor]:
    """Search for some rows of x among all that bounds in float64 do not rule out."""
    frame = _frame(y, x)
    tile = _cut(x[rows], frame, slice(None), torch.float64)
    lows, highs = [], []
    for columns in tiles(len(y)):
        column = _cut(y, frame, columns, torch.float64)
        lows.append(_lower_bound(tile, column))
        highs.append(lows[-1] + _slack(tile.norms[:, None], column.norms, tile.values))
    low, high = torch.cat(lows, dim=1), torch.cat(highs, dim=1)
    if within:
        own = torch.arange(len(rows), device=rows.device)
        low[own, rows] = high[own, rows] = torch.inf
    i, j = (low <= high.kthvalue(k, dim=1, keepdim=True).values).nonzero(as_tuple=True)
    distances = torch.full_like(low, torch.inf)
    distances[i, j] = _square_distances(x, y, rows[i], j)
    ordered = distances.sort(dim=1, stable=True)
    return ordered.values[:, k - 1], ordered.indices[:, k - 1]


def _screen(
    x: Tensor, y: Tensor, k: int, dtype: torch.dtype, *, within: bool
) -> tuple[Tensor, Tensor, Tensor]:
    """Search among the nearest by lower bounds, and say of which rows that may not be enough."""
    frame = _frame(y, x)
    columns = _cut_all(y, frame, dtype)
    others = len(y) - within
    width = min(k + SPARE, others)
    low = torch.full((len(x), width), torch.inf, dtype=dtype, device=x.device)
    index = torch.zeros(len(x), width, dtype=torch.int64, device=x.device)
    norms = []
    for number, rows in enumerate(tiles(len(x))):
        row = columns[number] if within else _cut(x, frame, rows, dtype)
        norms.append(row.norms)
        for column in columns[: number + 1] if within else columns:
            bound = _lower_bound(row, column)
            if row is column and within:
                bound.fill_diagonal_(torch.inf)
            _merge(low, index, rows, column.rows, bound)
            if within and row is not column:
                _merge(low, index, column.rows, rows, bound.T)
    last = low[:, -1].double()
    others_norms = torch.cat([column.norms for column in columns])[index]
    slack = _slack(torch.cat(norms)[:, None], others_norms, row.values)
    squares, index = _settle(x, y, k, low.double(), slack, index)
    if width == others:
        return squares, index, index[:0]
    return squares, index, ((squares > 0) & (squares * frame.scale**2 > last)).nonzero().flatten()


def _merge(low: Tensor, index: Tensor, rows: slice, columns: slice, bound: Tensor) -> None:
    """Merge the bounds of further columns into the smallest so far of some rows."""
    width = low.shape[1]

    def find_limits(least: Tensor) -> Tensor:
        """Return what no more than `width` of all bounds so far can be below."""
        if least.shape[1] < width:
            return low[rows, -1]
        return torch.minimum(low[rows, -1], _find_smallest(least, width)[0][:, -1])

    i, j, values = _find_small(bound, find_limits)
    counts = i.bincount(minlength=len(bound))
    # A row's smallest so far, and behind them its new ones side by side.
    places = torch.arange(width, width + len(i), device=i.device) - (counts.cumsum(0) - counts)[i]
    all_low = low.new_full((len(bound), width + int(counts.max())), torch.inf)
    all_low[:, :width], all_low[i, places] = low[rows], values
    all_index = index.new_zeros(all_low.shape)
    all_index[:, :width], all_index[i, places] = index[rows], j + columns.start
    low[rows], chosen = _find_smallest(all_low, width)
    index[rows] = all_index.gather(1, chosen)


def _find_small(
    values: Tensor, find_limits: Callable[[Tensor], Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the finite values up to a limit for each row: their rows, in order, columns, values.

    Limits [n] are found from the minima of groups of columns, [n, groups].
    """
    if missing := -values.shape[1] % SPAN:
        values = F.pad(values, (0, missing), value=torch.inf)
    groups = values.unflatten(1, (SPAN, -1))
    least = torch.amin(groups, dim=1, out=torch.empty_like(groups[:, 0]))  # in its layout
    limits = find_limits(least).clamp(max=torch.finfo(values.dtype).max)[:, None]
    i, group = _locate(least <= limits)
    members = groups[i, :, group]
    chosen, place = _locate(members <= limits[i])
    return i[chosen], place * groups.shape[2] + group[chosen], members[chosen, place]


def _locate(mask: Tensor) -> tuple[Tensor, Tensor]:
    """Return the rows and columns where a matrix is true; NumPy finds them four times as fast."""
    if mask.device.type != "cpu":
        rows, columns = mask.nonzero(as_tuple=True)
        return rows, columns
    flat = torch.from_numpy(np.flatnonzero(mask.numpy()))
    rows = flat // mask.shape[1]
    return rows, flat - rows * mask.shape[1]


def _find_smallest(values: Tensor, k: int) -> tuple[Tensor, Tensor]:
    """Return the k smallest values of every row, the largest of them last, and their columns.

    Their order is open otherwise, which spares NumPy most of the time of `topk`.
    """
    if values.device.type != "cpu":
        found = values.topk(k, largest=False)
        return found.values, found.indices
    chosen = torch.from_numpy(np.argpartition(values.numpy(), k - 1, axis=1)[:, :k])
    return values.gather(1, chosen), chosen


def _settle(
    x: Tensor, y: Tensor, k: int, low: Tensor, slack: Tensor, index: Tensor
) -> tuple[Tensor, Tensor]:
    """Find the k-th neighbour, by exact distances where bounds leave it open which one it is."""
    index, order = index.sort(dim=1)
    low = low.gather(1, order)
    high = low + slack.gather(1, order)
    least, most = (ends.kthvalue(k, dim=1, keepdim=True).values for ends in (low, high))
    doubt = (high >= least) & (low <= most)
    squares = torch.where(high < least, -torch.inf, torch.inf).to(low)
    rows, places = doubt.nonzero(as_tuple=True)
    squares[doubt] = _square_distances(x, y, rows, index[rows, places])
    ordered = squares.sort(dim=1, stable=True)
    return ordered.values[:, k - 1], index.gather(1, ordered.indices[:, k - 1 : k]).flatten()


def _precisions(features: Tensor) -> tuple[torch.dtype, ...]:
    """Return the precisions to screen in, one after the other.

    Float32 is twice as fast on a CPU. On CUDA, or where torch is told so, its products may keep
    no more than ten bits.
    """
    whole = torch.get_float32_matmul_precision() == "highest"
    if features.device.type == "cpu" and whole:
        return torch.float32, torch.float64
    return (torch.float64,)


def _frame(features: Tensor, others: Tensor) -> Frame:
    """Centre on `features`, and let no coordinate of either set exceed 1."""
    extent = max(one.abs().item() for x in (features, others) for one in x.aminmax())
    scale = 2.0 ** -math.ceil(math.log2(2 * extent)) if extent > 0 else 1.0
    return Frame(mean_row(features), scale)


def _cut(features: Tensor, frame: Frame, rows: slice, dtype: torch.dtype) -> Tile:
    values = (features[rows].double() - frame.centre).mul_(frame.scale).to(dtype)
    return Tile(rows, values, torch.linalg.vector_norm(values, dim=1, dtype=torch.float64).square())


def _cut_all(features: Tensor, frame: Frame, dtype: torch.dtype) -> list[Tile]:
    """Cut all rows into tiles, in memory of one piece."""
    values = torch.empty_like(features, dtype=dtype)
    norms = torch.empty_like(features[:, 0], dtype=torch.float64)
    for rows in tiles(len(features)):
        tile = _cut(features, frame, rows, dtype)
        values[rows], norms[rows] = tile.values, tile.norms
    return [Tile(rows, values[rows], norms[rows]) for rows in tiles(len(features))]


def _lower_bound(a: Tile, b: Tile) -> Tensor:
    """Return lower bounds on the squared distances of all pairs of rows."""
    keep = 1 - _margin(a.values)
    bound = product(a.values, b.values)
    torch.add((keep * a.norms).to(bound)[:, None], bound, alpha=-2, out=bound)
    return bound.add_((keep * b.norms).to(bound))


def _slack(a: Tensor, b: Tensor, values: Tensor) -> Tensor:
    """Return how far above its lower bound the distance of rows of these norms may be."""
    return 2 * _margin(values) * (a + b)


def _margin(values: Tensor) -> float:
    """Bound the error of a squared distance by this share of the rows' squared norms.

    With unit roundoff u, d products summed in any order are wrong by at most d u of the norms
    (Higham 2002, eq. 3.5), and 32 u are more than enough for the rounding of features, norms and
    sums. The differences in float64 have d roundings of their own.
    """
    d = values.shape[1]
    u, fine = (torch.finfo(dtype).eps / 2 for dtype in (values.dtype, torch.float64))
    return (d + 32) * u + (2 * d + 4) * fine


def _square_distances(x: Tensor, y: Tensor, i: Tensor, j: Tensor) -> Tensor:
    """Return the squared distances of pairs of rows from their differences, float64 [p].

    Squares are added by folding rows in half, so that a pair's distance has the same bits wherever
    it is computed, and equal distances are found equal.
    """
    squares = torch.empty(len(i), dtype=torch.float64, device=x.device)
    for pairs in torch.arange(len(i), device=x.device).split(max(PAIRS // x.shape[1], 1)):
        differences = x[i[pairs]].double() - y[j[pairs]].double()
        squares[pairs] = _sum_columns(differences.square_())
    return squares


def _sum_columns(values: Tensor) -> Tensor:
    """Sum over the columns."""
    while values.shape[1] > 1:
        half = (values.shape[1] + 1) // 2
        values[:, : values.shape[1] - half] += values[:, half:]
        values = values[:, :half]
    return values[:, 0]
