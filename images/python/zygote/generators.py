"""The random generators that a kernel would inherit: found once, reseeded in every child."""

import gc
import os
import random
import sys
from typing import Any


class RandomGenerators:
    """Every generator object that was alive in the zygote."""

    def __init__(self, generators: list[Any]) -> None:
        self._generators = generators

    @classmethod
    def inherited(cls) -> "RandomGenerators":
        """Find them. Must be called before the garbage collector is frozen."""
        gc.collect()
        return cls([thing for thing in gc.get_objects() if _is_generator(type(thing))])

    def reseed(self) -> None:
        """Give each one, numpy's legacy global one and multiprocessing's key fresh entropy."""
        for generator in self._generators:
            _reseed(generator)
        if numpy_random := sys.modules.get("numpy.random"):
            numpy_random.seed(None)
        if processes := sys.modules.get("multiprocessing.process"):
            processes.current_process().authkey = os.urandom(32)


def _is_generator(kind: type) -> bool:
    if issubclass(kind, random.SystemRandom):
        return False
    return issubclass(kind, (random.Random, *_numpy_kinds()))


def _numpy_kinds() -> tuple[type, ...]:
    numpy_random = sys.modules.get("numpy.random")
    return (numpy_random.RandomState, numpy_random.Generator) if numpy_random else ()


def _reseed(generator: Any) -> None:
    if hasattr(generator, "bit_generator"):
        bits = generator.bit_generator
        bits.state = type(bits)().state
    else:
        generator.seed()
