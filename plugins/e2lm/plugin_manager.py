"""Finds, loads and asks plugins, so that one broken plugin costs only itself.

Differences from pluggy's own loader, each for a reason: plugins are *found* without importing them and sorted by
(distribution, entry point), so installation order changes nothing; each is loaded in isolation; misspelt hooks fail the
plugin that holds them instead of being ignored; results of register hooks are collected one implementation at a time;
and a name claimed by two plugins is an error that names both distributions. What a plugin prints goes to standard
error, one that hangs is named there, and listeners get copies: none can spoil what the others see.
"""

from __future__ import annotations

import importlib.util
import os
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cache
from hashlib import sha256
from importlib.metadata import EntryPoint, distributions, version
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Literal, Protocol

import pluggy

from e2lm import hookspecs
from e2lm._core.plugin_watch import PluginWatch
from e2lm.errors import E2LMError, UserError, nearest_names, one_line

if TYPE_CHECKING:
    from e2lm.verb import Verb

ENTRY_POINT_GROUP = "e2lm"
RESTRICT_VARIABLE = "E2LM_PLUGINS"

Status = Literal["active", "disabled", "failed"]


class Named(Protocol):
    """Anything a register hook may return."""

    @property
    def name(self) -> str:
        """The name it is registered under."""
        ...


@dataclass(slots=True)
class PluginRecord:
    """What is known about one plugin, loaded or not."""

    name: str
    distribution: str
    version: str
    entry_point: EntryPoint | None = None
    path: Path | None = None
    hooks: tuple[str, ...] = ()
    status: Status = "disabled"
    error: str | None = None
    #: The whole traceback behind ``error``.
    trace: str | None = None
    #: What an active plugin did that it should not do.
    remarks: list[str] = field(default_factory=list)

    @property
    def label(self) -> str:
        """``name (distribution version)``, as shown in messages."""
        return f"{self.name!r} ({self.distribution} {self.version})"

    def fail(self, error: BaseException | str) -> None:
        """Mark as failed, keeping the traceback where there is one."""
        self.status = "failed"
        if isinstance(error, str):
            self.error = error
            return
        self.error = f"{type(error).__name__}: {one_line(error)}"
        if isinstance(error, ModuleNotFoundError) and self.entry_point is not None:
            self.error += f"; {self.distribution} needs it: pip install it, or uninstall {self.distribution}"
        elif isinstance(error, ImportError) and (error.name or "").partition(".")[0] == "e2lm":
            self.error += f"; this is {_this_e2lm()}, and {self.distribution} was written for another: upgrade either"
        self.trace = "".join(traceback.format_exception(error))


@dataclass(frozen=True, slots=True)
class Registration:
    """One object that a plugin registered, and which plugin that was."""

    item: Any
    plugin: PluginRecord


class PluginManager:
    """Holds the plugins of one process. Use :func:`plugin_manager` for the shared one; tests make their own."""

    def __init__(self) -> None:
        self._pluggy = pluggy.PluginManager(hookspecs.PROJECT)
        self._pluggy.add_hookspecs(hookspecs)
        self.records: list[PluginRecord] = []
        self._record_of_plugin: dict[int, PluginRecord] = {}
        self._registrations: dict[str, dict[str, list[Registration]]] = {}

    # -- finding and loading -------------------------------------------------------------------------------------

    def load_installed(self, restrict: str | None = None) -> None:
        """Load the installed plugins; ``restrict`` is a comma-separated list of names (``""`` for none)."""
        found = found_plugins()
        wanted = None if restrict is None else {name.strip() for name in restrict.split(",") if name.strip()}
        if wanted is not None:
            for name in sorted(wanted - {record.name for record in found}):
                raise UserError(
                    f"{RESTRICT_VARIABLE}: no plugin named {name!r} is installed. "
                    + nearest_names(name, (record.name for record in found))
                )
        chosen = [record for record in found if wanted is None or record.name in wanted]
        self.records += found
        with PluginWatch([record.name for record in chosen]) as watch:
            for record in chosen:
                twins = [other for other in found if other.name == record.name and other is not record]
                if twins:
                    record.fail(
                        f"the plugin name {record.name!r} is claimed by two distributions: {record.distribution} and "
                        f"{twins[0].distribution}; uninstall one of them"
                    )
                elif record.entry_point is not None:
                    self._load(record, record.entry_point, watch)

    @contextmanager
    def with_files(self, paths: Sequence[Path]) -> Iterator[None]:
        """One-file plugins for the length of the block: they are one command's, not the next one's."""
        loaded: list[ModuleType] = []
        try:
            for path in paths:
                loaded.append(self.load_file(path))
            yield
        finally:
            for module in loaded:
                self.unregister(module)

    def load_file(self, path: Path) -> ModuleType:
        """Load a one-file plugin. The user asked for it by name, so a failure is an error and leaves no record."""
        if not path.is_file():
            raise UserError(f"--plugin: {path} is not a file; give the path of a Python file with e2lm hooks")
        record = PluginRecord(name=path.stem, distribution=str(path), version="file", path=path)
        try:
            with PluginWatch([]) as watch, watch.step(record.name, record.label, "import") as remarks:
                record.remarks = remarks
                module = _module_from_file(path)
        except UserError:
            raise
        except BaseException as error:
            record.fail(_isolated(error))
        else:
            self.register(module, record)
        if record.status == "failed":
            self.records = [one for one in self.records if one is not record]
            raise UserError(f"--plugin {path}: {record.error}")
        return module

    def _load(self, record: PluginRecord, entry_point: EntryPoint, watch: PluginWatch) -> None:
        try:
            with watch.step(record.name, record.label, "import") as remarks:
                record.remarks = remarks
                plugin = entry_point.load()
        except BaseException as error:
            record.fail(_isolated(error))
        else:
            self.register(plugin, record)

    def register(self, plugin: object, record: PluginRecord) -> None:
        """Register a loaded plugin; a wrong signature or a misspelt hook fails it whole."""
        if record not in self.records:
            self.records.append(record)
        if self._pluggy.is_registered(plugin):
            owner = self._record_of_plugin[id(plugin)]
            record.fail(f"it is the same object as the plugin {owner.label}; remove one of the two entry points")
            return
        if wrong := _wrong_hook_api(plugin):
            record.fail(wrong)
            return
        unique_name = f"{record.distribution}:{record.name}"
        try:
            with warnings.catch_warnings(record=True) as deprecations:
                warnings.simplefilter("always")
                self._pluggy.register(plugin, unique_name)
        except Exception as error:
            record.fail(error)
            if self._pluggy.is_registered(plugin):  # pluggy keeps the hooks it had checked before the wrong one
                self._pluggy.unregister(plugin)
            return
        hooks = tuple(sorted(caller.name for caller in self._pluggy.get_hookcallers(plugin) or ()))
        unknown = [name for name in hooks if not self._pluggy.hook.__dict__[name].has_spec()]
        misspelt = [name for name in _names_like_hooks(plugin) if name not in hooks]
        if unknown:
            self._pluggy.unregister(plugin)
            known = [name for name in vars(hookspecs) if name.startswith("e2lm_")]
            record.fail(f"there is no hook {unknown[0]!r}. {nearest_names(unknown[0], known)} This is {_this_e2lm()}")
            return
        if misspelt:
            self._pluggy.unregister(plugin)
            record.fail(f"{misspelt[0]}() is not marked: put @hookimpl above it (from e2lm import hookimpl)")
            return
        for one in deprecations:
            told = one_line(one.message)
            record.remarks.append(told)
            warnings.warn(f"plugin {record.label}: {told}", DeprecationWarning, stacklevel=3)
        record.hooks = hooks
        record.status = "active"
        self._record_of_plugin[id(plugin)] = record
        self._registrations.clear()

    def unregister(self, plugin: object) -> None:
        """Forget a plugin that was registered for a while only."""
        if self._pluggy.is_registered(plugin):  # one whose register hook raised is not any more
            self._pluggy.unregister(plugin)
        record = self._record_of_plugin.pop(id(plugin))
        self.records = [one for one in self.records if one is not record]
        self._registrations.clear()

    # -- register hooks ------------------------------------------------------------------------------------------

    def registered(self, hook: str, kind: type[Any]) -> dict[str, list[Registration]]:
        """All objects of a register hook by name, in plugin order; more than one per name is a conflict."""
        if hook not in self._registrations:
            self._registrations[hook] = self._asked(hook, kind)
        return {name: list(claims) for name, claims in self._registrations[hook].items()}

    def _asked(self, hook: str, kind: type[Any]) -> dict[str, list[Registration]]:
        by_name: dict[str, list[Registration]] = {}
        with self._watch() as watch:
            for record, implementation in self._implementations(hook):
                try:
                    with watch.step(record.name, record.label, hook) as remarks:
                        items = self._collected(implementation.function, kind)
                except BaseException as error:
                    record.fail(_isolated(error))
                    warnings.warn(f"plugin {record.label} failed in {hook}: {record.error}", stacklevel=3)
                    self._pluggy.unregister(implementation.plugin)
                    continue
                record.remarks += remarks
                for item in items:
                    by_name.setdefault(item.name, []).append(Registration(item, record))
        return by_name

    def _watch(self) -> PluginWatch:
        installed = (one for one in self.records if one.status == "active" and one.entry_point is not None)
        return PluginWatch([record.name for record in installed])

    @staticmethod
    def _collected(function: Any, kind: type[Any]) -> list[Any]:
        result = function()
        items = [] if result is None else [result] if isinstance(result, kind) else list(result)
        for item in items:
            if not isinstance(item, kind):
                raise E2LMError(f"returned {item!r}; expected {kind.__name__} objects")
        return items

    def _implementations(self, hook: str) -> list[tuple[PluginRecord, pluggy.HookImpl]]:
        implementations = getattr(self._pluggy.hook, hook).get_hookimpls()
        order = {id(record): index for index, record in enumerate(self.records)}
        known = [(self._record_of_plugin[id(one.plugin)], one) for one in implementations]
        return sorted(known, key=lambda pair: order[id(pair[0])])

    def find(self, hook: str, kind: type[Any], name: str, what: str) -> Any:
        """The object called ``name``; a :class:`UserError` if there is none or two plugins claim the name."""
        by_name = self.registered(hook, kind)
        if name not in by_name:
            raise UserError(f"unknown {what} {name!r}. {nearest_names(name, by_name)}")
        return _the_only(by_name[name], what).item

    def all(self, hook: str, kind: type[Any], what: str) -> list[Any]:
        """Every object of a register hook in plugin order; a name claimed twice is a :class:`UserError`."""
        return [_the_only(claims, what).item for claims in self.registered(hook, kind).values()]

    def verb(self, name: str) -> Verb:
        """The verb called ``name``, which can be called; a :class:`UserError` if none has the name, or two have."""
        from e2lm.verb import Verb

        found: Verb = self.find("e2lm_register_verbs", Verb, name, "verb")
        return found

    def verbs(self) -> dict[str, Verb]:
        """The verbs by name, without those that two plugins claim."""
        from e2lm.verb import Verb

        claims = self.registered("e2lm_register_verbs", Verb)
        return {name: own[0].item for name, own in claims.items() if len(own) == 1}

    # -- notify hooks --------------------------------------------------------------------------------------------

    def is_heard(self, hook: str) -> bool:
        """Whether any plugin implements a notify hook; what nobody hears need not be computed."""
        return any(True for _ in self._implementations(hook))

    def notify(self, hook: str, **arguments: object) -> None:
        """Call a notify hook, one implementation at a time, each with a copy of its own; one that raises is named."""
        implementations = self._implementations(hook)
        if not implementations:
            return
        with self._watch() as watch:
            for record, implementation in implementations:
                try:
                    own = [deepcopy(arguments[name]) for name in implementation.argnames]
                    with watch.step(record.name, record.label, hook):
                        implementation.function(*own)
                except BaseException as error:
                    error = _isolated(error)
                    warnings.warn(
                        f"plugin {record.label} failed in {hook}: {type(error).__name__}: {one_line(error)}",
                        stacklevel=2,
                    )


def _this_e2lm() -> str:
    return f"e2lm {version('e2lm')} (hook API {hookspecs.HOOK_API})"


def _wrong_hook_api(plugin: object) -> str:
    """Why a plugin that says ``requires_hook_api = N`` cannot be used here; empty where it can, or says nothing."""
    wanted = getattr(plugin, "requires_hook_api", None)
    if wanted is None:
        return ""
    if not isinstance(wanted, int) or isinstance(wanted, bool) or wanted < 1:
        return f"requires_hook_api: found {wanted!r}, expected a whole number, 1 or more"
    if wanted > hookspecs.HOOK_API:
        release = hookspecs.RELEASE_OF.get(wanted)
        needed = f"e2lm >= {release}" if release else "a later e2lm"
        return f"it needs hook API {wanted}, so {needed}; this is {_this_e2lm()}: pip install --upgrade e2lm"
    if wanted < hookspecs.OLDEST_HOOK_API:
        return (
            f"it was written for hook API {wanted}; {_this_e2lm()} understands {hookspecs.OLDEST_HOOK_API} and later: "
            "ask its authors for a newer release"
        )
    return ""


def _isolated(error: BaseException) -> BaseException:
    """``error`` if it costs one plugin only, as ``sys.exit()`` in a plugin does; what the user did is raised again."""
    if isinstance(error, KeyboardInterrupt | GeneratorExit):
        raise error
    return error


def _the_only(claims: list[Registration], what: str) -> Registration:
    if len(claims) > 1:
        first, second = claims[0].plugin, claims[1].plugin
        if first is second:
            raise UserError(f"the {what} name {claims[0].item.name!r} is registered twice by the plugin {first.label}")
        raise UserError(
            f"the {what} name {claims[0].item.name!r} is claimed by two plugins: {first.label} and {second.label}; "
            f"uninstall one, or list the plugins you want in {RESTRICT_VARIABLE}=a,b"
        )
    return claims[0]


def _names_like_hooks(plugin: object) -> list[str]:
    """Functions of a plugin module named ``e2lm_...`` and defined there: surely meant as hooks."""
    if not isinstance(plugin, ModuleType):
        return []
    return [
        name
        for name, value in vars(plugin).items()
        if name.startswith("e2lm_") and callable(value) and getattr(value, "__module__", None) == plugin.__name__
    ]


def _module_from_file(path: Path) -> ModuleType:
    digest = sha256(str(path.resolve()).encode()).hexdigest()[:12]
    spec = importlib.util.spec_from_file_location(f"e2lm_file_plugin_{digest}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--plugin: {path} is not a Python file (it must end in .py)")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def found_plugins() -> list[PluginRecord]:
    """The installed plugins, none imported, sorted by (distribution, name).

    Of a distribution that is on the path twice the first counts, as it does for ``import``. One whose metadata cannot
    be read comes out as failed.
    """
    found: dict[tuple[str, str], PluginRecord] = {}
    seen: set[str] = set()
    for distribution in distributions():
        # Reading the text first skips the parsing of every other distribution, most of the time this takes.
        if f"[{ENTRY_POINT_GROUP}]" not in (distribution.read_text("entry_points.txt") or ""):
            continue
        try:
            owner, version = distribution.metadata["Name"] or "unknown", distribution.version
            entry_points = distribution.entry_points.select(group=ENTRY_POINT_GROUP)
        except Exception as error:
            record = PluginRecord("unknown", str(getattr(distribution, "_path", "unknown")), "unknown")
            record.fail(error)
            found[record.distribution, record.name] = record
            continue
        if owner.lower() not in seen:
            seen.add(owner.lower())
            for one in entry_points:
                found[owner.lower(), one.name] = PluginRecord(one.name, owner, version, one)
    return [found[key] for key in sorted(found)]


@cache
def plugin_manager() -> PluginManager:
    """The plugins of this process, loaded on the first call; ``E2LM_PLUGINS`` restricts them."""
    manager = PluginManager()
    manager.load_installed(os.environ.get(RESTRICT_VARIABLE))
    return manager
