"""The contrastive loss (Eq. 5 and 6) and its accuracy."""

import tensorflow as tf


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
