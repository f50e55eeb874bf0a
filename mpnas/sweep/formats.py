"""The formats that a point can be exported in: one frozen class each, its attributes the options that it has.

A format writes a file and says what of it is counted, and what computes outputs as the file does. To add one,
write its class, its name in `FORMATS`, and a row in `tests/contracts/test_exports.py`.
"""

import dataclasses
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Protocol

from mpnas.cost import Bops, Cost, WeightBytes, exact_cost
from mpnas.errors import ConfigError, PackError
from mpnas.export import float_ops
from mpnas.export.converters import qwix_rules, write_csv
from mpnas.export.counted import bit_operations
from mpnas.export.graph import IntegerGraph
from mpnas.export.lower import lower
from mpnas.export.ops import ROUNDINGS, Rounding
from mpnas.export.pack import pack
from mpnas.export.stablehlo import read_stablehlo, write_stablehlo
from mpnas.export.storage import storage_of
from mpnas.export.unpack import unpack
from mpnas.space import Assignment
from mpnas.supernet import Parts, Supernet
from mpnas.sweep.collect import sites_of
from mpnas.sweep.outputs import Run, executed

STORAGES = ("int8", "packed")


@dataclasses.dataclass(frozen=True, eq=False)
class Shipped:
    """A network with everything that a format may ask for.

    Attributes:
      net, parts, assignment: As for `discretize`.
      example: An input batch.
    """

    net: Supernet
    parts: Parts
    assignment: Assignment
    example: Any

    def graph(self, rounding: Rounding) -> IntegerGraph:
        """The network as integers.

        Raises:
          UnsupportedOperationError, GraphError: it has no integer form; names the place.
        """
        return lower(self.net, self.parts, self.assignment, self.example, rounding=rounding)

    @property
    def float_ops(self) -> tuple[str, ...]:
        """Parts that do not run on integers, each with the reason."""
        return float_ops(self.net.space, self.assignment)

    @property
    def sites(self) -> dict[str, Any]:
        """The sites of its space, as in a front."""
        return sites_of(self.net.space)

    def cost(self, cost: Cost) -> float:
        """An exact cost of its assignment."""
        return exact_cost(cost, self.net.space, self.assignment)


@dataclasses.dataclass(frozen=True)
class Written:
    """What is to be said of a file that was written.

    Attributes:
      run: What computes outputs from inputs as the file does; None where nothing here can.
      sizes: What the file is made of -> bits.
      costs: Cost -> what the file itself says it is; equal to that of the assignment.
    """

    run: Run | None = None
    sizes: Mapping[str, int] = dataclasses.field(default_factory=dict)
    costs: Mapping[str, float] = dataclasses.field(default_factory=dict)


class Format(Protocol):
    """What the classes of `FORMATS` promise; their attributes are the options of the format."""

    name: ClassVar[str]
    runs: ClassVar[bool]  # whether what is written can be run here, and so has a parity

    @property
    def suffix(self) -> str:
        """End of a file's name: options that are not the usual ones, and the kind of file."""

    def write(self, shipped: Shipped, path: Path) -> Written:
        """Write the file.

        Raises:
          UnsupportedOperationError, GraphError: the format cannot hold an operation; names it.
        """


@dataclasses.dataclass(frozen=True)
class Packed:
    """The packed file, in as many bits as the cost says.

    Attributes:
      rounding: Of every requantisation.
    """

    rounding: Rounding = "single_round"
    name: ClassVar[str] = "packed"
    runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _known("rounding", self.rounding, ROUNDINGS)

    @property
    def suffix(self) -> str:
        return _unusual(self) + ".mpnas"

    def write(self, shipped: Shipped, path: Path) -> Written:
        graph = shipped.graph(self.rounding)
        made = pack(graph, storage_of(shipped.net.space, shipped.assignment))
        costs = _counted(shipped, {WeightBytes(): made.weight_bits / 8, Bops(): bit_operations(graph)})
        path.write_bytes(made.data)
        sizes = {
            "weights, as counted": made.weight_bits, "graph and constants": made.graph_bits,
            "header and filling": made.other_bits,
        }
        return Written(executed(unpack(path.read_bytes())), sizes, costs)


@dataclasses.dataclass(frozen=True)
class Onnx:
    """An ONNX file for onnxruntime, which runs it here.

    Attributes:
      storage: Kernels in bytes (`int8`), or each channel in 2, 4, 8 or 16 bits (`packed`).
      vnni: Whether kernels of 8 bits may be signed bytes, for processors whose products do not saturate.
      rounding: Of every requantisation.
    """

    storage: str = "int8"
    vnni: bool = False
    rounding: Rounding = "single_round"
    name: ClassVar[str] = "onnx"
    runs: ClassVar[bool] = True

    def __post_init__(self) -> None:
        _known("rounding", self.rounding, ROUNDINGS)
        _known("storage", self.storage, STORAGES)

    @property
    def suffix(self) -> str:
        return _unusual(self) + ".onnx"

    def write(self, shipped: Shipped, path: Path) -> Written:
        try:
            from mpnas.export.onnx_qdq import run_onnx, write_onnx
        except ImportError as error:
            raise ConfigError(f"ONNX files need another package ({error}). Install mpnas[onnx].") from error
        graph = shipped.graph(self.rounding)
        write_onnx(graph, path, storage=self.storage, vnni=self.vnni)  # type: ignore[arg-type]
        return Written(
            functools.partial(run_onnx, path), costs=_counted(shipped, {Bops(): bit_operations(graph)})
        )


@dataclasses.dataclass(frozen=True)
class StableHlo:
    """The discretised network as JAX exports programs: its weights in floats, its function exact."""

    name: ClassVar[str] = "stablehlo"
    runs: ClassVar[bool] = True
    suffix: ClassVar[str] = ".stablehlo"

    def write(self, shipped: Shipped, path: Path) -> Written:
        write_stablehlo(shipped.net, shipped.parts, shipped.assignment, shipped.example, path)
        return Written(read_stablehlo(path))


@dataclasses.dataclass(frozen=True)
class Csv:
    """The bits of each layer as a table."""

    name: ClassVar[str] = "csv"
    runs: ClassVar[bool] = False
    suffix: ClassVar[str] = ".csv"

    def write(self, shipped: Shipped, path: Path) -> Written:
        write_csv(shipped.sites, shipped.assignment.to_json(), path)
        return Written()


@dataclasses.dataclass(frozen=True)
class Qwix:
    """Rules for qwix.

    Attributes:
      language: `json`, or `python` for a module.
    """

    language: str = "json"
    name: ClassVar[str] = "qwix"
    runs: ClassVar[bool] = False

    @property
    def suffix(self) -> str:
        return ".qwix.py" if self.language == "python" else ".qwix.json"

    def write(self, shipped: Shipped, path: Path) -> Written:
        rules = qwix_rules(shipped.sites, shipped.assignment.to_json())
        text = rules.to_python() if self.language == "python" else rules.to_json()
        path.write_text(text, encoding="utf-8")
        return Written()


FORMATS: Mapping[str, type[Any]] = {kind.name: kind for kind in (Packed, Onnx, StableHlo, Csv, Qwix)}
"""The classes of `Format` by name."""


def format_named(name: str, **options: Any) -> Format:
    """A format with those of its options that are not None.

    Raises:
      ConfigError: no such format, an option that it does not have, or a value that an option cannot have.
    """
    if name not in FORMATS:
        raise ConfigError(f"unknown format '{name}'; there are {', '.join(FORMATS)}.")
    given = {key: value for key, value in options.items() if value is not None}
    for key in given:
        if key not in _options(FORMATS[name]):
            having = " and ".join(other for other, kind in FORMATS.items() if key in _options(kind))
            raise ConfigError(f"--{key} is an option of {having}; the format {name} has no such thing.")
    made: Format = FORMATS[name](**given)
    return made


def options_of(kind: Format) -> dict[str, Any]:
    """The options of a format as plain data."""
    return dataclasses.asdict(kind)  # type: ignore[call-overload,no-any-return]


def _options(kind: type[Any]) -> dict[str, Any]:
    """Option -> its usual value."""
    return {field.name: field.default for field in dataclasses.fields(kind)}


def _unusual(kind: Any) -> str:
    parts = (
        name if value is True else str(value) for name, value in options_of(kind).items()
        if value != _options(type(kind))[name]
    )
    return "".join(f"-{part}" for part in parts)


def _known(option: str, value: str, known: tuple[str, ...]) -> None:
    if value not in known:
        raise ConfigError(f"there is no {option} '{value}'; there are {', '.join(known)}.")


def _counted(shipped: Shipped, found: Mapping[Any, float]) -> dict[str, float]:
    """Cost -> amount, each of which is what the cost says.

    Raises:
      PackError: one is not.
    """
    for cost, amount in found.items():
        if amount != (said := shipped.cost(cost)):
            raise PackError(
                f"the file has {amount:g} {cost.unit} of {cost.name}, the cost {cost.name} says {said:g}. "
                "This is a defect of mpnas: please report it with the experiment."
            )
    return {cost.name: int(n) if float(n).is_integer() else n for cost, n in found.items()}
