"""The in-process API: what `tf.train` and `tf.keras.utils` had, without a daemon and without TensorFlow."""
