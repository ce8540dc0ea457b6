"""Keras' layers where ours differ in how, not in what, they compute: batch normalisation and dropout.

Keras 3 composes batch normalisation of some ten elementwise operations and reductions, each of which reads and keeps a
whole feature map: at the network's sizes they cost about as much as the convolutions. TensorFlow's fused kernel (oneDNN
on CPUs, cuDNN on GPUs) reads the map twice and keeps its input alone; it is the same layer to rounding.
"""

import keras
import tensorflow as tf

from lhdlib.model import distribute


@keras.saving.register_keras_serializable(package="lhdlib")
class BatchNormalization(keras.layers.BatchNormalization):
    """``keras.layers.BatchNormalization`` of (batch, u, v, channels), with Keras' weights, options and updates.

    Statistics that several replicas share (`synchronized`) have no fused kernel: Keras computes those.
    """

    skipped = False  # while the convolution before does it (`inference.folded`)

    def call(self, inputs: tf.Tensor, *, training: bool | None = None, mask: None = None) -> tf.Tensor:
        """Normalise by the batch's statistics in training, else by the running ones; same shape and dtype."""
        if self.skipped:
            return inputs
        if self.synchronized:
            return super().call(inputs, training=training, mask=mask)
        scale, offset = tf.cast(self.gamma, tf.float32), tf.cast(self.beta, tf.float32)
        if not (training and self.trainable):
            running = self.moving_mean.value, self.moving_variance.value
            return _fused(inputs, scale, offset, *running, epsilon=self.epsilon, is_training=False)[0]
        outputs, mean, variance = _fused(inputs, scale, offset, epsilon=self.epsilon, is_training=True)
        count = tf.cast(tf.reduce_prod(tf.shape(inputs)[:-1]), tf.float32)
        variance *= (count - 1) / count  # the kernel gives the unbiased estimate, Keras keeps the biased one
        for running, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            running.assign(running * self.momentum + batch * (1 - self.momentum))
        return outputs


_fused = tf.compat.v1.nn.fused_batch_norm


@keras.saving.register_keras_serializable(package="lhdlib")
class Dropout(keras.layers.Dropout):
    """``keras.layers.Dropout`` of (batch, d); several replicas draw the whole batch's mask and each takes its rows."""

    def call(self, inputs: tf.Tensor, *, training: bool = False) -> tf.Tensor:
        """Drop in training; same shape and dtype."""
        context = tf.distribute.get_replica_context()
        if not training or self.rate == 0 or context.num_replicas_in_sync == 1:
            return super().call(inputs, training=training)
        whole = tf.ones(tf.shape(inputs) * [context.num_replicas_in_sync, 1], inputs.dtype)
        return inputs * distribute.share(super().call(whole, training=True))
