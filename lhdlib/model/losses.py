"""The contrastive loss (Eq. 5 and 6), its accuracy, and four objectives that pre-training may have in its place.

All are functions of the features ``(2n, d)`` of a batch of which rows 2h and 2h + 1 are the views of image h. They need
the rows of all devices at once, which `distribute.gather` hands them, and each compiles with XLA.
"""

from typing import Any

import tensorflow as tf

from lhdlib.profile import Profile

PAPERS = "inner-product"  #: the objective of the paper
CONTRASTIVE = (PAPERS, "nt-xent", "supcon")  #: a softmax over the 2n - 1 other rows: log(2n - 1) where all are equal
UNKNOWN = -1  #: label of a row whose label is not known
EPSILON = 1e-4  #: under the root of a standard deviation, as in VICReg


def similarity(features: tf.Tensor) -> tf.Tensor:
    """Inner products ``<x_i, x_k>`` of all pairs of rows, in float32; the diagonal (k = i) is set to -inf.

    Parameters
    ----------
    features : tf.Tensor, shape (2n, d)

    Returns
    -------
    tf.Tensor, shape (2n, 2n)
    """
    features = tf.cast(features, tf.float32)
    products = tf.matmul(features, features, transpose_b=True)
    return tf.linalg.set_diag(products, tf.fill([tf.shape(products)[0]], -float("inf")))


def partners(count: tf.Tensor) -> tf.Tensor:
    """Row of each row's partner: 1, 0, 3, 2, ... for `count` = 2n rows."""
    return tf.bitwise.bitwise_xor(tf.range(count), 1)


def contrastive_loss(
    features: tf.Tensor, temperature: float = 100.0, reduction: str = "sum", groups: tf.Tensor | None = None
) -> tf.Tensor:
    """Contrastive loss of a batch of paired views (Eq. 5 and 6).

    Parameters
    ----------
    features : shape (2n, d)
        Rows 2h and 2h + 1 are the views of image h.
    temperature
        τ of Eq. 5, positive.
    reduction : {"sum", "mean"}
        Eq. 6, or divided by 2n.
    groups : shape (2n,)
        Patients: rows of the same, except the partner, leave the denominator.

    Raises
    ------
    ValueError
        For another temperature or reduction.

    Examples
    --------
    >>> views = tf.repeat(tf.eye(2), 2, axis=0)
    >>> round(float(contrastive_loss(views, temperature=1.0, reduction="mean")), 4)  # log(e+2)-1
    0.5514
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}.")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', not {reduction!r}.")
    logits = similarity(features) / temperature  # of inner products, not of cosines (Eq. 5)
    partner = partners(tf.shape(logits)[0])
    positive = tf.gather(logits, partner, axis=1, batch_dims=1)
    if groups is not None:
        same = tf.equal(groups[:, None], groups[None, :])
        keep = tf.logical_or(~same, tf.equal(tf.range(tf.shape(logits)[0])[None, :], partner[:, None]))
        logits = tf.where(keep, logits, -float("inf"))
    # -log P_ij as a log-sum-exp: large features neither overflow nor lose the small terms
    losses = tf.reduce_logsumexp(logits, axis=1) - positive
    # The sum of Eq. 6 gives the L2 term the weight that it has in the paper.
    return tf.reduce_sum(losses) if reduction == "sum" else tf.reduce_mean(losses)


def contrastive_accuracy(features: tf.Tensor) -> tf.Tensor:
    """Share of the 2n rows whose largest inner product with another row is their partner's.

    Parameters
    ----------
    features : tf.Tensor, shape (2n, d)

    Returns
    -------
    tf.Tensor, scalar float32 in [0, 1]

    Examples
    --------
    >>> float(contrastive_accuracy([[2.0, 0.0], [2.0, 0.0], [0.0, 1.0], [1.0, 0.5]]))  # the last row prefers the first
    0.75
    """
    products = similarity(features)
    nearest = tf.argmax(products, axis=1, output_type=tf.int32)
    return tf.reduce_mean(tf.cast(tf.equal(nearest, partners(tf.shape(products)[0])), tf.float32))


# Objectives in the place of Eq. 5


def objective(
    features: tf.Tensor, profile: Profile, *, groups: tf.Tensor | None = None, labels: tf.Tensor | None = None
) -> tf.Tensor:
    """The loss that ``objective`` in [pretrain] names, with the values of [pretrain] and [objectives].

    Parameters
    ----------
    features : shape (2n, d)
    groups, labels : shape (2n,)
        Of the rows: see `contrastive_loss` and `supcon`; the other objectives ignore them.
    """
    settings, values = profile.pretrain, hyperparameters(profile)
    if settings.objective == "nt-xent":
        loss = nt_xent(features, groups=groups, **values)
    elif settings.objective == "supcon":
        loss = supcon(features, labels, groups=groups, **values)
    elif settings.objective == "vicreg":
        loss = vicreg(features, **values)
    elif settings.objective == "barlow-twins":
        loss = barlow_twins(features, **values)
    else:
        return contrastive_loss(features, settings.temperature, settings.reduction, groups)
    rows = tf.cast(tf.shape(features)[0], tf.float32)
    return rows * loss if settings.reduction == "sum" else loss  # the L2 term weighs the same beside each


def hyperparameters(profile: Profile) -> dict[str, Any]:
    """Arguments that the profile gives to the function of its objective; none to the paper's, which has [pretrain]."""
    values = profile.objectives
    found: dict[str, dict[str, Any]] = {
        "nt-xent": {"temperature": values.nt_xent_temperature},
        "supcon": {"temperature": values.supcon_temperature},
        "vicreg": {"weights": values.vicreg_weights},
        "barlow-twins": {"weight": values.barlow_twins_weight},
    }
    return found.get(profile.pretrain.objective, {})


def compared(features: tf.Tensor, name: str) -> tf.Tensor:
    """The rows whose inner products say how alike they are: as they are for the paper's objective, else of length 1."""
    features = tf.cast(features, tf.float32)
    return features if name == PAPERS else tf.math.l2_normalize(features, axis=1)


def nt_xent(features: tf.Tensor, *, temperature: float = 0.5, groups: tf.Tensor | None = None) -> tf.Tensor:
    """SimCLR's loss (Chen et al. 2020, Eq. 1, arXiv:2002.05709): Eq. 5 of cosines, mean over the rows.

    ``-log exp(cos(x_i, x_j) / τ) / sum over k != i of exp(cos(x_i, x_k) / τ)``, j the partner of i.

    Parameters
    ----------
    features : shape (2n, d)
    groups : shape (2n,)
        As in `contrastive_loss`.
    """
    return contrastive_loss(compared(features, "nt-xent"), temperature, "mean", groups)


def supcon(
    features: tf.Tensor, labels: tf.Tensor | None, *, temperature: float = 0.1, groups: tf.Tensor | None = None
) -> tf.Tensor:
    """Supervised contrastive loss (Khosla et al. 2020, Eq. 2, arXiv:2004.11362), mean over the rows.

    ``-1/|P(i)| sum over p in P(i) of log exp(cos(x_i, x_p) / τ) / sum over k != i of exp(cos(x_i, x_k) / τ)``.

    Parameters
    ----------
    features : shape (2n, d)
    labels : shape (2n,)
        P(i) are all other rows of i's label and its partner; the partner alone where the label is `UNKNOWN`.
    groups : shape (2n,)
        As in `contrastive_loss`; rows of P(i) stay.

    Raises
    ------
    ValueError
        Without labels.
    """
    if labels is None:
        raise ValueError("supcon needs the labels of the rows: pass UNKNOWN where there is none.")
    logits = similarity(compared(features, "supcon")) / temperature
    rows = tf.range(tf.shape(logits)[0])
    alike = tf.equal(labels[:, None], labels[None, :]) & tf.not_equal(labels, UNKNOWN)[:, None]
    other = tf.not_equal(rows[:, None], rows[None, :])
    positive = (alike & other) | tf.equal(rows[None, :], partners(tf.shape(logits)[0])[:, None])
    if groups is not None:
        logits = tf.where(positive | tf.not_equal(groups[:, None], groups[None, :]), logits, -float("inf"))
    log_share = logits - tf.reduce_logsumexp(logits, axis=1, keepdims=True)
    count = tf.reduce_sum(tf.cast(positive, tf.float32), axis=1)
    return -tf.reduce_mean(tf.reduce_sum(tf.where(positive, log_share, 0.0), axis=1) / count)


def vicreg(features: tf.Tensor, *, weights: tuple[float, float, float] = (25.0, 25.0, 1.0)) -> tf.Tensor:
    """Variance-invariance-covariance loss (Bardes et al. 2022, Algorithm 1, arXiv:2105.04906).

    ``λ s(Z, Z') + μ (v(Z) + v(Z')) + ν (c(Z) + c(Z'))``: s is the mean squared difference of partners, v the mean over
    coordinates of ``max(0, 1 - sd)``, c the sum of squared covariances of different coordinates over d.

    Parameters
    ----------
    features : shape (2n, d)
        Z are the even rows, Z' the odd ones.
    weights
        λ, μ and ν.
    """
    first, second = _halves(features)
    count, width = tf.cast(tf.shape(first)[0], tf.float32), tf.cast(tf.shape(first)[1], tf.float32)
    invariance, spread, correlated = tf.reduce_mean((first - second) ** 2), 0.0, 0.0
    for half in (first, second):
        centred = half - tf.reduce_mean(half, axis=0)
        covariance = tf.matmul(centred, centred, transpose_a=True) / (count - 1)
        variance = tf.linalg.diag_part(covariance)
        spread += tf.reduce_mean(tf.nn.relu(1 - tf.sqrt(variance + EPSILON)))
        correlated += tf.reduce_sum(tf.linalg.set_diag(covariance, tf.zeros_like(variance)) ** 2) / width
    return weights[0] * invariance + weights[1] * spread + weights[2] * correlated


def barlow_twins(features: tf.Tensor, *, weight: float = 0.0051) -> tf.Tensor:
    """Redundancy reduction (Zbontar et al. 2021, Eq. 1 and 2, arXiv:2103.03230).

    ``sum over a of (1 - C_aa)^2 + λ sum over a != b of C_ab^2``, C_ab the correlation over the batch of coordinate a of
    the first view with coordinate b of the second.

    Parameters
    ----------
    features : shape (2n, d)
    weight
        λ.
    """
    first, second = (half - tf.reduce_mean(half, axis=0) for half in _halves(features))
    scaled = [half / tf.sqrt(tf.reduce_mean(half**2, axis=0) + EPSILON) for half in (first, second)]
    correlation = tf.matmul(*scaled, transpose_a=True) / tf.cast(tf.shape(first)[0], tf.float32)
    own = tf.linalg.diag_part(correlation)
    others = tf.linalg.set_diag(correlation, tf.zeros_like(own))
    return tf.reduce_sum((1 - own) ** 2) + weight * tf.reduce_sum(others**2)


def _halves(features: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """First and second views, (n, d) each, in float32."""
    features = tf.cast(features, tf.float32)
    return features[0::2], features[1::2]
