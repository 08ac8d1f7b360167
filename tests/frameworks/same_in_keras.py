"""The networks of test_same_network.py in Keras: channels last, dense layers (in, out)."""

from frameworks.same_network import EPSILON, HEADS, PIXELS, POSITIONS, WIDTH, WORDS


def convnet(weights):
    from tests.frameworks.keras_networks import keras, layers

    pixels = keras.Input((PIXELS, PIXELS, 3))
    x = layers.ReLU(name="relu1")(layers.Conv2D(4, 3, padding="same", name="conv1")(pixels))
    x = layers.MaxPooling2D(2, name="pool")(x)
    x = layers.ReLU(name="relu2")(layers.Conv2D(6, 3, padding="same", name="conv2")(x))
    model = keras.Model(pixels, layers.Dense(5, name="dense")(layers.Flatten(name="flatten")(x)))
    for name in ("conv1", "conv2", "dense"):
        kernel = weights[name].reshape(-1, 5) if name == "dense" else weights[name]
        model.get_layer(name).set_weights([kernel, weights[f"{name}.bias"]])
    return model


def transformer(weights):
    from tests.frameworks.keras_networks import keras, layers

    class Block(layers.Layer):
        def __init__(self, **options):
            super().__init__(**options)
            self.norm1 = layers.LayerNormalization(epsilon=EPSILON)
            self.norm2 = layers.LayerNormalization(epsilon=EPSILON)
            self.attention = layers.MultiHeadAttention(HEADS, WIDTH // HEADS)
            self.up, self.gelu, self.down = layers.Dense(16), layers.Activation("gelu"), layers.Dense(WIDTH)

        def call(self, x):
            y = self.norm1(x)
            x = x + self.attention(y, y)
            return x + self.down(self.gelu(self.up(self.norm2(x))))

    words = keras.Input((POSITIONS,), dtype="int32")
    block = Block(name="block")
    x = block(layers.Embedding(WORDS, WIDTH, name="embed")(words))
    model = keras.Model(words, layers.LayerNormalization(epsilon=EPSILON, name="norm")(x))
    model.get_layer("embed").set_weights([weights["embed"]])
    for name in ("norm1", "norm2", "up", "down"):
        getattr(block, name).set_weights([weights[name], weights[f"{name}.bias"]])
    parts = ("query", "key", "value", "out")
    block.attention.set_weights([weights[key] for part in parts for key in (part, f"{part}.bias")])
    model.get_layer("norm").set_weights([weights["norm"], weights["norm.bias"]])
    return model
