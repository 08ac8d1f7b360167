"""A torch module that a test writes as a function."""

import pytest

torch = pytest.importorskip("torch", reason="torch is not installed: make test-frameworks")


class Calls(torch.nn.Module):
    """A forward pass given as a function of the module and its inputs, over sub-modules given by name."""

    def __init__(self, forward, **modules):
        super().__init__()
        self._forward = forward
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, *inputs, **named):
        return self._forward(self, *inputs, **named)
