"""Names for the types of Keras, TensorFlow and KerasTuner, which give none that a type checker reads.

An alias of `Any` says what a value is, and is not checked; a Protocol is checked. `Any` itself stands nowhere else
without a reason.
"""

from collections.abc import Callable, MutableMapping, Sequence
from typing import Any, Literal, Protocol, TypeAlias

__all__ = [
    "Argument",
    "Annotation",
    "ArrayLike",
    "Batch",
    "CallbackState",
    "ConcreteFunction",
    "Config",
    "DType",
    "DataAdapter",
    "Dataset",
    "FieldValue",
    "FitArgument",
    "HyperModelLike",
    "HyperParameter",
    "HyperParameters",
    "Json",
    "KerasCallback",
    "KerasLayer",
    "KerasModel",
    "KerasOptimizer",
    "Logs",
    "Nest",
    "Operation",
    "PolymorphicFunction",
    "Objective",
    "ParameterValue",
    "Phase",
    "Scalar",
    "Step",
    "Strategy",
    "Tensor",
    "TensorSpec",
    "TrialOfTuner",
    "TrialResults",
    "Variable",
]

Phase: TypeAlias = Literal["train", "test", "predict"]  # what a run does with data

Tensor: TypeAlias = Any  # tf.Tensor, keras.KerasTensor, or what converts to one inside a program
Variable: TypeAlias = Any  # keras.Variable or tf.Variable
Scalar: TypeAlias = Any  # a float, or a scalar tensor inside a program
Argument: TypeAlias = Any  # what a user passes, before it is checked
ArrayLike: TypeAlias = Any  # numpy.ndarray, tf.Tensor, a list of numbers, a data frame
TensorSpec: TypeAlias = Any  # tf.TypeSpec
DType: TypeAlias = Any  # a name such as "float32", tf.DType, numpy.dtype
Nest: TypeAlias = Any  # a structure of tuples, lists and dicts, as tf.nest takes it
Batch: TypeAlias = Any  # a nest of tensors, a row an example: x, (x, y) or (x, y, sample_weight)
CallbackState: TypeAlias = dict[str, Nest]  # of lists, dicts with text keys, numbers, texts, None, numpy arrays
Dataset: TypeAlias = Any  # tf.data.Dataset, or a distributed one
ConcreteFunction: TypeAlias = Any  # tf.types.experimental.ConcreteFunction
PolymorphicFunction: TypeAlias = Any  # what tf.function returns
Operation: TypeAlias = Any  # tf.Operation
DataAdapter: TypeAlias = Any  # what Keras' fit makes of its data
Strategy: TypeAlias = Any  # tf.distribute.Strategy
KerasLayer: TypeAlias = Any  # keras.layers.Layer
KerasCallback: TypeAlias = Any  # keras.callbacks.Callback
FitArgument: TypeAlias = Any  # an argument of model.fit or of Tuner.search
HyperModelLike: TypeAlias = Any  # keras_tuner.HyperModel, or a function from hyperparameters to a model
HyperParameter: TypeAlias = Any  # a definition: keras_tuner.engine.hyperparameters.HyperParameter
HyperParameters: TypeAlias = Any  # keras_tuner.HyperParameters
Objective: TypeAlias = Any  # keras_tuner.Objective, or several in one
ParameterValue: TypeAlias = Any  # of a hyperparameter: a bool, a number, a text or None
TrialOfTuner: TypeAlias = Any  # keras_tuner.engine.trial.Trial
Annotation: TypeAlias = Any  # of a field: a class, a union, Annotated, Literal
FieldValue: TypeAlias = Any  # of a Value: a float or a scalar tensor, a text, a bool, None, a tuple, a Value
TrialResults: TypeAlias = Any  # what run_trial returns: a History, a number, metrics by name, or a list of these
Json: TypeAlias = Any  # what json.loads gives
Config: TypeAlias = dict[str, Any]  # what get_config gives
Logs: TypeAlias = MutableMapping[str, Any] | None  # the argument of callback methods; callbacks add to it
Step: TypeAlias = Callable[[Batch], Nest]  # what is done with one batch; gives the logs


class KerasOptimizer(Protocol):
    """A `keras.optimizers.Optimizer`, as far as kopt uses it in public."""

    name: str
    iterations: Variable
    learning_rate: Scalar
    built: bool
    weight_decay: float | None
    use_ema: bool
    gradient_accumulation_steps: int | None

    @property
    def variables(self) -> list[Variable]: ...

    def build(self, variables: Sequence[Variable]) -> None: ...

    def apply(self, grads: Sequence[Tensor], trainable_variables: Sequence[Variable] | None = None) -> Tensor: ...

    def scale_loss(self, loss: Tensor) -> Tensor: ...

    def finalize_variable_values(self, trainable_variables: Sequence[Variable]) -> None: ...

    def get_config(self) -> Config: ...


class KerasModel(Protocol):
    """A `keras.Model`, as far as kopt uses it in public."""

    name: str
    optimizer: Any
    loss: Any
    compiled: bool
    built: bool
    run_eagerly: bool
    jit_compile: Any
    steps_per_execution: int
    stop_training: bool
    stop_evaluating: bool
    stop_predicting: bool
    train_function: Any
    test_function: Any
    predict_function: Any
    history: Any
    trainable: bool

    @property
    def distribute_strategy(self) -> Strategy: ...

    @property
    def layers(self) -> list[KerasLayer]: ...

    @property
    def losses(self) -> list[Tensor]: ...

    @property
    def metrics(self) -> list[Any]: ...

    @property
    def metrics_variables(self) -> list[Variable]: ...

    @property
    def variables(self) -> list[Variable]: ...

    @property
    def weights(self) -> list[Variable]: ...

    @property
    def trainable_variables(self) -> list[Variable]: ...

    @property
    def trainable_weights(self) -> list[Variable]: ...

    @property
    def non_trainable_variables(self) -> list[Variable]: ...

    @property
    def inputs(self) -> Nest: ...

    @property
    def outputs(self) -> Nest: ...

    @property
    def output_shape(self) -> Any: ...

    def __call__(self, *inputs: Nest, **arguments: Any) -> Nest: ...

    def compile(self, *arguments: Any, **named: Any) -> None: ...

    def fit(self, *data: Any, **arguments: Any) -> Any: ...

    def evaluate(self, *data: Any, **arguments: Any) -> Any: ...

    def predict(self, *data: Any, **arguments: Any) -> Any: ...

    def train_step(self, data: Batch) -> Nest: ...

    def test_step(self, data: Batch) -> Nest: ...

    def predict_step(self, data: Batch) -> Nest: ...

    def make_train_function(self, force: bool = False) -> Any: ...

    def make_predict_function(self, force: bool = False) -> Any: ...

    def compute_metrics(self, x: Nest, y: Nest, y_pred: Nest, sample_weight: Nest = None) -> Nest: ...

    def get_metrics_result(self) -> Nest: ...

    def reset_metrics(self) -> None: ...

    def build(self, input_shape: Any) -> None: ...

    def count_params(self) -> int: ...

    def get_weights(self) -> list[Any]: ...

    def set_weights(self, weights: Sequence[Any]) -> None: ...

    def save(self, filepath: Any, **arguments: Any) -> None: ...

    def save_weights(self, filepath: Any, **arguments: Any) -> None: ...

    def load_weights(self, filepath: Any, **arguments: Any) -> None: ...

    def get_config(self) -> Config: ...
