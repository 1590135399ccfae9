"""What every test of samerun may use."""

from support.fixtures import _warm, pytest_collection_modifyitems, warm

__all__ = ["_warm", "pytest_collection_modifyitems", "warm"]
