"""Errors that a user can act on. Every message says what was found, what was expected and what to do."""


class FaceChainError(RuntimeError):
    """Base of every error that the pack raises on purpose."""


class FaceNotFound(FaceChainError):
    """No usable face in a picture, and the policy is Stop."""


class WeightsError(FaceChainError):
    """A published file is missing, damaged, or not what its name says."""


class MissingWeights(WeightsError):
    """A published file that this task needs is not on this machine."""


class KeyMismatch(WeightsError):
    """A state dict does not contain the tensors of the network it is loaded into."""


class BadInput(FaceChainError, ValueError):
    """The given pictures, texts or settings cannot be used."""
