from __future__ import annotations

import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import onnxruntime
import pytest

from nip_runtime.errors import DeviceError
from nip_runtime.run.providers import plugin_devices, register_plugin, registered_providers

takes_plugins = pytest.mark.skipif(
    not hasattr(onnxruntime, "get_ep_devices"),
    reason="this onnxruntime takes no plugin providers (before 1.22)",
)
# A registered library stays with its process: what registers one runs in a process of its own.
_THROUGH_OPENVINO = """
import sys
import numpy as np
import onnxruntime
import onnxruntime_ep_openvino as plugin
from nip_runtime.run import providers
from nip_runtime.errors import DeviceError

assert "OpenVINOExecutionProvider" in providers.register_plugin("openvino", plugin.get_library_path())
precise = {"load_config": '{"CPU": {"INFERENCE_PRECISION_HINT": "f32"}}'}
settings = providers.SessionSettings(provider_options=precise)
device = providers.resolve("OpenVINOExecutionProvider", settings=settings)
session = providers.open_session(sys.argv[1], device, settings=settings)
assert session.get_providers()[0] == "OpenVINOExecutionProvider", session.get_providers()
plain = providers.open_session(sys.argv[1], providers.Device(providers.DeviceKind.CPU))
images = np.random.default_rng(0).random((5, *plain.get_inputs()[0].shape[1:]), np.float32)
for theirs, ours in zip(*(s.run(None, {s.get_inputs()[0].name: images}) for s in (session, plain))):
    np.testing.assert_allclose(theirs, ours, rtol=1e-4, atol=1e-4)
for asked in (None, precise):
    found = providers.check_device(onnxruntime, device, provider_options=asked)
    assert found.works
    print("rounds" if found.rounds else "exact")
try:
    providers.resolve("OpenVINOExecutionProvider:9")
except DeviceError as error:
    print(error)
"""


@pytest.mark.skipif(find_spec("onnxruntime_ep_openvino") is None, reason="needs onnxruntime-ep-openvino")
def test_a_plugin_provider_runs_a_defended_file(any_path: Path) -> None:
    command = [sys.executable, "-c", _THROUGH_OPENVINO, str(any_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    # In bfloat16 where the processor has it, unless told otherwise.
    assert done.stdout.split("\n")[1] == "exact"
    assert "expected device OpenVINOExecutionProvider:9, got 1 device of that provider" in done.stdout


@takes_plugins
def test_a_library_that_is_none_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "libacme.so"
    path.write_text("no library")
    with pytest.raises(
        DeviceError, match=r"expected a provider library that onnxruntime .* loads at .*libacme"
    ):
        register_plugin("acme", path)


@takes_plugins
def test_without_plugins_none_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert registered_providers(onnxruntime) == frozenset()
    assert plugin_devices(onnxruntime, "AcmeExecutionProvider") == []
    for name in ("get_ep_devices", "register_execution_provider_library"):
        monkeypatch.delattr(onnxruntime, name)
    assert registered_providers(onnxruntime) == frozenset()
    with pytest.raises(
        DeviceError, match=r"takes plugin providers, got version .*; upgrade onnxruntime to 1.22"
    ):
        register_plugin("acme", "libacme.so")
