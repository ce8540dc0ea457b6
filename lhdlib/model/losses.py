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

    Rows 2h and 2h + 1 (from 0) are the two views of image h. For each row i with partner j the loss is
    ``-log P_ij``, the softmax over all other 2n - 1 rows of the inner products divided by the temperature; it is
    computed as a log-sum-exp in float32, so large features neither overflow nor lose the small terms.

    Parameters
    ----------
    features : shape (2n, d)
        Semantic feature vectors x.
    temperature
        τ of Eq. 5, positive; it divides the inner product, not a cosine.
    reduction : {"sum", "mean"}
        Eq. 6 sums over the 2n rows (so that the L2 term has the paper's weight); "mean" divides by 2n.
    groups : shape (2n,)
        Patient of each row; rows of the same patient other than the partner are then left out of the denominator.

    Returns
    -------
    tf.Tensor, scalar float32

    Raises
    ------
    ValueError
        For a temperature that is not positive, or another reduction.

    Examples
    --------
    >>> views = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]  # two images: partners alike, the others orthogonal
    >>> round(float(contrastive_loss(views, temperature=1.0, reduction="mean")), 4)  # -1 + log(e + 2)
    0.5514
    """
    if temperature <= 0:
        raise ValueError(f"temperature must be positive, not {temperature}.")
    if reduction not in ("sum", "mean"):
        raise ValueError(f"reduction must be 'sum' or 'mean', not {reduction!r}.")
    logits = similarity(features) / temperature
    partner = partners(tf.shape(logits)[0])
    positive = tf.gather(logits, partner, axis=1, batch_dims=1)
    if groups is not None:
        same = tf.equal(groups[:, None], groups[None, :])
        keep = tf.logical_or(~same, tf.equal(tf.range(tf.shape(logits)[0])[None, :], partner[:, None]))
        logits = tf.where(keep, logits, -float("inf"))
    losses = tf.reduce_logsumexp(logits, axis=1) - positive
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
