"""Start-up shim: after ``pip install`` alone, the stock ``lm_eval`` command knows the models and tasks of plugins.

``e2lm_autoload.pth`` (``.start`` from Python 3.15 on, PEP 829) imports this module when Python starts. It must
stay tiny: it puts one finder in front of ``sys.meta_path``, which does nothing until somebody imports ``lm_eval``,
and then adds models and tasks right after lm-eval's own modules have run. It never raises. ``E2LM_AUTOLOAD=0``
switches it off. Releases of lm-eval that read entry points themselves are left to do so: names already there stay.
"""

import sys


def _after_models(module):  # type: ignore[no-untyped-def]
    from e2lm_adapters.lm_eval.registration import register_models

    register_models()


def _after_task_manager(module):  # type: ignore[no-untyped-def]
    from e2lm_adapters.lm_eval.registration import include_task_folders
    from e2lm_adapters.lm_eval.release import inner_part

    manager = inner_part(f"{module.__name__}:TaskManager", without="tasks of plugins are found by --include_path only")
    if manager is not None:
        include_task_folders(manager)


#: What is done once each module of lm-eval has run; one that is never imported, in whatever release, costs nothing.
AFTER_IMPORT = {"lm_eval.models": _after_models, "lm_eval.tasks.manager": _after_task_manager}


class LmEvalFinder:
    """Lets the other finders find the module, and wraps its loader."""

    @staticmethod
    def find_spec(name, path=None, target=None):  # type: ignore[no-untyped-def]
        """The module's own spec, with :data:`AFTER_IMPORT` run once it has been executed."""
        if name not in AFTER_IMPORT:
            return None
        for finder in sys.meta_path:
            if finder is LmEvalFinder or not hasattr(finder, "find_spec"):
                continue
            spec = finder.find_spec(name, path, target)
            if spec is not None:
                if spec.loader is not None and hasattr(spec.loader, "exec_module"):
                    _wrap(spec.loader, AFTER_IMPORT[name])  # type: ignore[no-untyped-call]
                return spec
        return None


def _wrap(loader, action):  # type: ignore[no-untyped-def]
    execute = loader.exec_module

    def exec_module(module):  # type: ignore[no-untyped-def]
        execute(module)
        run_safely(action, module)  # type: ignore[no-untyped-call]

    loader.exec_module = exec_module


def run_safely(action, module):  # type: ignore[no-untyped-def]
    """Run ``action``; whatever goes wrong is logged, and lm-eval goes on without us."""
    try:
        action(module)
    except Exception:
        import logging

        logging.getLogger("e2lm").exception("e2lm could not add to lm-eval (E2LM_AUTOLOAD=0 switches this off)")


def arm() -> None:
    """Add to lm-eval as soon as it is imported, or now where it already is. Calling it twice changes nothing."""
    if LmEvalFinder not in sys.meta_path:
        sys.meta_path.insert(0, LmEvalFinder)
    for name, action in AFTER_IMPORT.items():
        if name in sys.modules:
            run_safely(action, sys.modules[name])  # type: ignore[no-untyped-call]


def arm_unless_switched_off() -> None:
    """What happens at start-up."""
    import os

    if os.environ.get("E2LM_AUTOLOAD", "1") != "0":
        arm()
