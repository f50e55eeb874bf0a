"""The key that opens setup.cfg, where everything is said."""

from setuptools import setup

setup()
