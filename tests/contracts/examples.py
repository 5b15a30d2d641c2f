"""One example of every registered class; a class without one fails the contracts."""

import pathlib
import tempfile
from collections.abc import Callable

import keras
import numpy as np
import tensorflow as tf

from kopt import augment, callbacks, data, models, regularizers, rules, schedules, select
from kopt.callbacks import EMA
from kopt.experiment import recipe
from kopt.state import Knob
from kopt.training import clips, sharpness
from kopt.tuning.space import space
from kopt.values import Value, registry

RECIPE = recipe.Recipe(
    "example",
    data.Digits(examples=60),
    model=models.MLP((8, 8, 1), 10, units=(16,), scale=1 / 16),
    schedule=schedules.Cosine(0.01).warmup(1),
    clip=clips.GlobalNorm(1.0),
    regularizer=regularizers.L2(1e-4),
    average=EMA(0.9),
    augment=augment.Shift(0.1).then(augment.Rotate(0.01)),
    training=recipe.Training(3, batch_size=16),
)

SCHEDULES = [
    schedules.Constant(0.1),
    schedules.Exponential(0.1, 0.5, every=3),
    schedules.Exponential(0.1, 0.5, every=3, staircase=True),
    schedules.InverseTime(0.1, 0.5, every=3),
    schedules.InverseTime(0.1, 0.5, every=3, staircase=True),
    schedules.InverseSqrt(0.1, every=3),
    schedules.Step(0.1, 0.9, every=2),
    schedules.Piecewise((0.1, 0.05, 0.2), (3, 7)),
    schedules.Piecewise((0.1, 0.05, 0.2), (1, 3, 7), interpolate=True),
    schedules.Cosine(0.1, duration=10),
    schedules.Cosine(0.1, duration=10, end=0.01),
    schedules.Linear(0.1, duration=10, end=0.01),
    schedules.Polynomial(0.1, duration=10, power=1.5),
    schedules.FlatCosine(0.1, duration=10, flat=0.4),
    schedules.REX(0.1, duration=10, end=0.01),
    schedules.Tanh(0.1, duration=10),
    schedules.WarmupStableDecay(0.1, duration=20, rise=0.1, fall=0.3),
    schedules.WarmupStableDecay(0.1, duration=20, tail="cosine"),
    schedules.WarmupStableDecay(0.1, duration=20, tail="1-sqrt", end=0.01),
    schedules.Triangular(0.1, 0.01, every=6),
    schedules.Triangular(0.1, every=6, decay=0.5),
    schedules.Triangular(0.1, every=6, decay=0.5, smooth=True),
    schedules.OneCycle(0.1, duration=12),
    schedules.OneCycle(0.1, duration=12, shape="linear"),
    schedules.CosineRestarts(0.1, 0.01, every=4),
    schedules.CosineRestarts(0.1, every=4, growth=2, decay=0.5),
    schedules.Cosine(0.1, duration=10).warmup(4),
    schedules.Cosine(0.1, duration=10).warmup(4, start=0.01, shape="exponential"),
    schedules.Constant(0.1).warmup(4, shape="cosine"),
    schedules.Step(0.1, 0.5, every=3).warmup(2, start=0.01) * 2,
    schedules.Constant(0.1).then(schedules.Cosine(0.1, duration=6), at=4),
    schedules.Linear(0.1).warmup(1).restart(4, growth=1.5, decay=0.5),
    (schedules.Cosine(0.1, duration=10) * 2).clip(0.05, 0.15),
    schedules.Cosine(0.1, duration=10).delay(3),
    schedules.Stages((schedules.Cosine(0.1, duration=10), schedules.Constant(0.02)), (4,)),
]
RULES = [
    rules.GradientDescent(),
    rules.Momentum(0.8),
    rules.Nesterov(0.8),
    rules.Adam(),
    rules.Adam(0.8, 0.9, corrected=False),
    rules.AdamW(weight_decay=0.1),
    # Schedule-Free
    rules.ScheduleFreeSGD(warmup=5),
    rules.ScheduleFreeAdamW(warmup=5, weight_decay=0.1),
    rules.ScheduleFreeRAdam(),
    rules.ScheduleFreeRAdam(0.8, 0.99, silent=False),
    # Element-wise: by signs, and relatives of Adam.
    rules.SignSGD(),
    rules.Lion(weight_decay=0.1),
    rules.NAdamW(weight_decay=0.1),
    rules.Adan(weight_decay=0.1),
    rules.RAdam(0.8, 0.98, weight_decay=0.1),
    rules.AdaMax(weight_decay=0.1),
    rules.AMSGrad(weight_decay=0.1),
    rules.AdaBelief(weight_decay=0.1),
    rules.Yogi(weight_decay=0.1),
    rules.LaProp(weight_decay=0.1),
    rules.ADOPT(weight_decay=0.1),
    rules.AdEMAMix(beta_3=0.99, weight_decay=0.1, warmup_steps=20),
    rules.MARS(weight_decay=0.1),
    # matrices
    rules.Routed({~select.kernels: rules.Momentum(0.8)}, rest=rules.Adam()),
    rules.Muon(scale="original"),
    rules.Muon(0.9, 0.0, nesterov=False, scale="original", to=~select.biases, rest=rules.Adam(), rest_rate=0.5),
    rules.SOAP(0.9, 0.99, every=2),
    rules.Shampoo(start=1, every=2, graft="rmsprop", matrix_epsilon=1e-3),
    rules.Kron(0.8, weight_decay=0.1, every=2, flat=1, falling=1),
    # wrappers
    rules.Lookahead(rules.SkipNonFinite(rules.Momentum(0.8)), sync_every=2),
    rules.Cautious(rules.Centralize(rules.Nesterov(0.8))),
    rules.LayerScaled(rules.AGC(rules.AdamW(0.8, 0.9), 0.5), trust_ratio=0.5),
    # rate-free
    rules.Prodigy(0.8, 0.9, weight_decay=0.1, corrected=True, d0=1e-3, growth_rate=1.5),
    rules.DAdaptAdam(d0=1e-4),
    rules.DoG(1e-3, weight_decay=0.1),
    rules.DoG(1e-3, layerwise=True),
    rules.Mechanic(rules.Adam(), first_scale=1e-3),
    # of whole tensors
    rules.LARS(0.1, 0.8, trust=0.1, nesterov=True),
    rules.LAMB(weight_decay=0.1),
    rules.NovoGrad(weight_decay=0.1),
    rules.AdamMini(weight_decay=0.1),
    # that save memory
    rules.Adafactor(weight_decay=0.1),
    rules.SM3(0.8, 0.9),
    rules.Adam8bit(weight_decay=0.1, block=4, least=2),
    rules.GaLore(0.5, 0.9, weight_decay=0.1, rank=1, every=5, scale=1.0),
    rules.APOLLO(weight_decay=0.1, every=50, scale=4.0),
    rules.APOLLO(0.8, 0.9, rank=2, every=50, scale=1.0, by="channel"),
]
# A wrapper with the numbers by which it is the wrapped rule, where it has such numbers.
NEUTRAL: dict[str, Callable[[rules.Rule], rules.Rule]] = {
    "lookahead": lambda of: rules.Lookahead(of, sync_every=2, share=1.0),
    "skip_non_finite": rules.SkipNonFinite,
    "agc": lambda of: rules.AGC(of, ratio=1e30),
}
REGULARIZERS = [
    regularizers.L1(0.3),
    regularizers.L1(0.3, samples=5),
    regularizers.L2(0.2),
    regularizers.L2(0.2, samples=5),
    regularizers.L1L2(0.3, 0.2),
    regularizers.Orthogonal(0.3),
    regularizers.Orthogonal(0.3, double_sided=True, samples=5),
    regularizers.GroupLasso(0.3),
    regularizers.GroupLasso(0.3, "columns"),
    regularizers.GroupLasso(0.3, "filters", samples=5),
    regularizers.TowardStart(0.3),
    regularizers.TowardStart(0.3, samples=5),
]
MODELS = [
    models.MLP((8, 8, 1), 10, units=(16,), dropout=0.1, scale=1 / 16),
    models.MLP((10,), 1, units=(5,), task="regression"),
    models.ConvNet((8, 8, 1), 10, width=4, stages=1),
    models.ConvNet((8, 8, 1), 10, width=4, stages=2, residual=True),
    models.TextBag(2, vocabulary=50, length=7, width=4),
    models.TextConv(3, vocabulary=50, length=7, width=4, filters=3, sizes=(1, 2)),
    models.TextTransformer(2, vocabulary=50, length=7, width=4),
    models.CharGRU(6, width=4, layers=1),
    models.CharTransformer(6, width=4, layers=1, heads=2),
    models.Factorization(30, 40, width=3, dropout=0.1),
    models.Autoencoder(12, width=4),
    models.Autoencoder(12, width=4, linear=True),
    models.TwoTower(12, width=4, hidden=6),
    models.ForecastMLP((9, 2), 3, units=(4,), dropout=0.1),
    models.ForecastTCN((9, 2), 3, filters=4, levels=2),
    models.of_keras(keras.Sequential([keras.Input((5,)), keras.layers.Dense(3, "softmax", name="out")], name="given")),
    models.of_keras(
        keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, name="out")], name="given"), task="regression"
    ),
]
UNSIZED = [
    models.OfFunction("a.build", task="regression", bins=3),
    models.MLP(),
    models.CharGRU(),
    models.Autoencoder(),
]
FILES = tempfile.TemporaryDirectory()  # removed at the end of the process


def folder(name: str, classes: dict[str, list], ending: str) -> str:
    """A folder with a folder for each class, and a file for each thing."""
    for kind, things in classes.items():
        place = pathlib.Path(FILES.name) / name / kind
        place.mkdir(parents=True)
        for number, thing in enumerate(things):
            content = thing.encode() if isinstance(thing, str) else tf.io.encode_png(thing).numpy()
            (place / f"{number}{ending}").write_bytes(content)
    return str(pathlib.Path(FILES.name) / name)


def squares(bright: int) -> list[np.ndarray]:
    """40 images of 6 x 6, of which one half is brighter."""
    found = np.random.default_rng(bright).integers(0, 100, (40, 6, 6, 3)).astype("uint8")
    found[:, :3] += np.uint8(bright)
    return list(found)


IMAGES = folder("images", {"dark": squares(0), "light": squares(100)}, ".png")
TEXTS = folder(
    "texts", {kind: [f"{word} {n}" for n in range(40)] for kind, word in (("a", "no"), ("b", "yes"))}, ".txt"
)
NUMBERS = np.random.default_rng(1).normal(size=(3, 60, 2)).astype("float32")
PAIRS = [tf.data.Dataset.from_tensor_slices((x, (x[:, 0] > 0).astype("int32"))).batch(16) for x in NUMBERS]
DATA = [
    data.images(IMAGES, size=(5, 5)),
    data.texts(TEXTS, split="stratified"),
    data.tfdata(*PAIRS),
    data.Digits(),
    data.Digits(examples=100, seed=3),
    data.MNIST(examples=300),
    data.Reviews(examples=400),
    data.ChineseReviews(examples=400),
    data.Characters(32, examples=200),
    data.Ratings(examples=5000),
    data.Likes(examples=200),
    data.Electricity(every=48, examples=100),
    data.Diamonds(examples=500),
    data.arrays(np.random.default_rng(0).normal(size=(200, 3)), np.arange(200) % 3, names=("a", "b", "c")),
    data.CSV(str(pathlib.Path(__file__).with_name("plants.csv")), "kind", ignore=("number",)),
    data.Parquet(str(pathlib.Path(__file__).with_name("plants.parquet")), "kind", ignore=("number",)),
    data.frame({"size": np.arange(90.0), "name": np.array(["a", "b", "c"] * 30), "kind": np.arange(90) % 3}, "kind"),
]
AUGMENTATIONS = [
    augment.Crop(1),
    augment.Shift(0.1, 0.2),
    augment.Rotate(0.1),
    augment.RandAugment(1, 0.4, top=16),
    augment.MixUp(0.3),
    augment.Shift(0.1).then(augment.MixUp(0.3)),
    augment.Jitter(0.2),
    augment.TokenDropout(0.3),
]
SELECTORS = [
    select.kernels,
    select.path("a/*"),
    select.kernels & ~select.path("a/*"),
    select.biases | select.norms,
    select.path("a/(b|c)", regex=True) | select.recurrent_kernels,
    select.layers("Dense", "Conv2D") & select.depth(-1),
    select.depths(0, 3) | select.depth(2) | select.depths(-2) | select.norm_scales | select.norm_offsets,
    select.base.Named(("a/kernel", "b/kernel")),
]
RECIPES = [recipe.Training(5), RECIPE, recipe.Command(RECIPE)]
TUNING = [space.Range(1, 2), space.Range(1e-3, 1, log=True), space.Choice((1, "full"))]

CLIPS = [clips.GlobalNorm(0.5), clips.Norm(0.5), clips.ClipValue(0.1), clips.Adaptive(0.05, epsilon=0.01)]

# A name begins with the name in the registry; a callback is made anew for each run.
CALLBACKS = {
    "average": lambda: [callbacks.Average(callbacks.EMA(0.9))],
    "average, swa": lambda: [callbacks.Average(callbacks.SWA(0.4))],
    "average, lawa": lambda: [callbacks.Average(callbacks.LAWA(3))],
    "diagnosis": lambda: [callbacks.Diagnosis(verbose=0)],
    "epoch_time": lambda: [callbacks.EpochTime()],
    "gradient_monitor": lambda: [callbacks.GradientMonitor(5, noise=True)],
    "layer_rates": lambda: [callbacks.LayerRates({select.biases: 0.5}, depth_decay=0.9, unfreeze=2)],
    "learning_rate": lambda: [callbacks.LearningRate(schedules.Cosine(0.02).warmup(1), unit="epoch")],
    "scheduled": lambda: [callbacks.Scheduled(Knob(1.0, name="dial"), schedules.Linear(1.0), unit="epoch")],
    "reduce_on_plateau": lambda: [callbacks.ReduceOnPlateau("loss", factor=0.5, patience=1, min_delta=10)],
    "spike_guard": lambda: [callbacks.SpikeGuard(10)],
    "throughput": lambda: [callbacks.Throughput()],
    "time_budget": lambda: [callbacks.TimeBudget("1h")],
    # A run for each law costs half a second, and these only watch: they share theirs.
    "validate_every + stop_when + batch_logs + sample_predictions": lambda: [
        callbacks.ValidateEvery("10 steps", HELD_OUT),
        callbacks.StopWhen("loss plateaus 100 or val_mae < 0 and not mae > 1e9"),
        callbacks.BatchLogs(3),
        callbacks.SamplePredictions(*HELD_OUT, task="regression", every="2 epochs"),
    ],
}
HELD_OUT = np.linspace(-1, 1, 70, dtype="float32").reshape(7, 10), np.linspace(-2, 2, 7, dtype="float32")[:, None]

EXAMPLES: dict[str, tuple[registry.Registry, list]] = {
    "schedules": (schedules.registry, SCHEDULES),
    "rules": (rules.registry, RULES),
    "regularizers": (regularizers.registry, REGULARIZERS),
    "models": (models.registry, MODELS + UNSIZED),
    "data": (data.registry, DATA),
    "augmentations": (augment.registry, AUGMENTATIONS),
    "selectors": (select.registry, SELECTORS),
    "recipes": (recipe.registry, RECIPES),
    "tuning": (space.registry, TUNING),
    "clips": (clips.registry, CLIPS),
    "sharpness": (sharpness.registry, [sharpness.SAM(0.05), sharpness.ASAM(0.5, eta=0.02)]),
}
VALUES: list[Value] = [example for _, examples in EXAMPLES.values() for example in examples]


def within(value: Value) -> set[type]:
    """The types of a value and of the values in it."""
    return (
        {type(value)}
        | {type(inner) for inner in vars(value).values() if isinstance(inner, Value)}
        | {kind for inner in vars(value).values() if isinstance(inner, Value) for kind in within(inner)}
    )
