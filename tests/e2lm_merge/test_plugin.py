"""What the plugin imports: no torch to register, and none for a plain merge."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

Models = Callable[..., list[str]]


def test_the_plugin_imports_without_torch_and_registers_its_model() -> None:
    code = (
        "import sys, time\n"
        "import e2lm_merge.plugin as plugin\n"
        "assert 'torch' not in sys.modules\n"
        "assert len(plugin.e2lm_register_merge_strategies()) > 20\n"
        "assert 'torch' not in sys.modules\n"
        "print([one.target for one in plugin.e2lm_register_models()])\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=dict(os.environ), check=True
    )
    assert done.stdout.strip() == "['e2lm_merge.evaluation_model:E2lmMerge']"


def test_a_plain_merge_needs_no_torch(models: Models, tmp_path: Path) -> None:
    folders = models(2)
    config = tmp_path / "m.yml"
    config.write_text(json.dumps({"merge_method": "linear", "models": [{"model": one} for one in folders]}))
    code = (
        "import sys\n"
        "from e2lm.command_line import main\n"
        f"assert main(['merge', {str(config)!r}, {str(tmp_path / 'out')!r}, '--quiet']) == 0\n"
        "assert 'torch' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
    assert (tmp_path / "out" / "model.safetensors").is_file()
