"""What routing scripts in Python stand on: run once per process, before any script.

It makes `KSR` and `Router`, loads the scripts of a generation as a module of their own, finds what
they import beside themselves in the generation instead of on the disk, and keeps them from what
would harm their process. `native` holds the functions that Rust gives; nothing of a script is here.
"""

import gc
import importlib.util
import linecache
import os
import sys
import traceback
import types
from importlib.machinery import ModuleSpec

import _posixsubprocess
import _signal

ME = "<olelo>"
# Python's own limit is 1000; what a script sets may not be more than the native stack carries.
DEEPEST = 20000
LIBRARY = os.path.dirname(os.path.realpath(os.__file__)) + os.sep
BASE_PATH = list(sys.path)


class Error(TypeError, RuntimeError):
    """A function of KSR was called wrongly, or failed."""

    __module__ = "Router"


class Exit(SystemExit):
    """KSR.x.exit() or KSR.x.drop(): routing of the message is over."""

    __module__ = "Router"


class Stopped(BaseException):
    """The script used up its time."""

    __module__ = "Router"


# ---- KSR and Router


class msg:
    """The message that is routed. Old scripts use it; new ones call KSR."""

    __slots__ = ()
    __module__ = "Router"
    Type = property(lambda self: native["msg_type"]())
    Method = property(lambda self: native["msg_method"]())
    Status = property(lambda self: native["msg_status"]())
    RURI = property(lambda self: native["msg_ruri"]())
    src_address = property(lambda self: (native["msg_src_ip"](), native["msg_src_port"]()))
    dst_address = property(lambda self: (native["msg_dst_ip"](), native["msg_dst_port"]()))

    def copy(self):
        return msg()

    def getHeader(self, name):
        return native["msg_header"](name)

    def rewrite_ruri(self, uri):
        sys.modules["KSR"].seturi(uri)

    def set_dst_uri(self, uri):
        sys.modules["KSR"].setdsturi(uri)

    def call_function(self, name, *args):
        return sys.modules["KSR"].x.modf(name, *args)


LEVELS = {
    "ALERT": (-5, "crit"),
    "BUG": (-4, "crit"),
    "CRIT2": (-3, "crit"),
    "CRIT": (-2, "crit"),
    "ERR": (-1, "err"),
    "WARN": (0, "warn"),
    "NOTICE": (1, "notice"),
    "INFO": (2, "info"),
    "DBG": (3, "dbg"),
}

RANKS = {
    "PROC_MAIN": 0,
    "PROC_SIPINIT": 1,
    "PROC_TIMER": -1,
    "PROC_RPC": -2,
    "PROC_FIFO": -2,
    "PROC_TCP_MAIN": -4,
    "PROC_UNIXSOCK": -5,
    "PROC_ATTENDANT": -10,
    "PROC_INIT": -127,
    "PROC_MIN": -128,
    "PROC_NOCHLDINIT": -128,
    "PROC_SIPRPC": 127,
}


def package(name):
    made = types.ModuleType(name)
    made.__path__ = []
    sys.modules[name] = made
    return made


def under(parent, name):
    made = types.ModuleType(parent.__name__ + "." + name)
    sys.modules[made.__name__] = made
    setattr(parent, name, made)
    return made


def make_ksr(exports):
    """A fresh `KSR`: what a script has changed in an older one is gone."""
    ksr = package("KSR")
    ksr.__version__ = 1002
    for prefix, name, function in exports:
        place = ksr
        if prefix:
            place = ksr.__dict__.get(prefix) or under(ksr, prefix)
        setattr(place, name, function)
    # Field scripts write KSR.app_python.exec() and KSR.app_python3s.exec() as well.
    own = ksr.__dict__.get("app_python3")
    for alias in ("app_python", "app_python3s"):
        if own is not None:
            under(ksr, alias).__dict__.update(
                (k, v) for k, v in vars(own).items() if not k.startswith("__")
            )
    return ksr


def make_router(ksr):
    router = package("Router")
    # Not under KSR, where all is functions.
    router.Error, router.Exit, router.Stopped = Error, Exit, Stopped
    logger = under(router, "Logger")
    under(router, "Core")
    under(router, "Ranks").__dict__.update(RANKS)
    logger.DEFAULT_FACILITY = 0
    for name, (number, function) in LEVELS.items():
        setattr(logger, "L_" + name, number)
        log = getattr(ksr, function, None)
        if log is not None and name not in ("BUG", "CRIT2"):
            setattr(logger, "LM_" + name, log)
    # These two name the level first; LM_GEN1 a facility before it.
    logger.LM_GEN1 = logger.LM_GEN2 = lambda *args: by_level(logger, args)


def by_level(logger, args):
    level, text = args[-2:]
    names = sorted(LEVELS, key=lambda n: abs(LEVELS[n][0] - level))
    getattr(logger, "LM_" + next(n for n in names if hasattr(logger, "LM_" + n)))(text)


# ---- modules that lie beside the script


def is_users(directory):
    """Whether modules in it are the operator's own: neither Python's nor an installed package's."""
    if not isinstance(directory, str):
        return False
    real = os.path.realpath(directory or os.curdir) + os.sep
    if real.startswith(LIBRARY) or real.endswith(".zip" + os.sep):
        return False
    return not {"site-packages", "dist-packages"}.intersection(real.split(os.sep))


class Users:
    """Finds and loads the operator's own modules, from the generation's texts."""

    def __init__(self, file, text):
        self.file = file
        self.text = text

    @classmethod
    def find_spec(cls, name, path=None, target=None):
        found = []
        for directory in sys.path if path is None else path:
            if is_users(directory):
                base = os.path.join(os.path.abspath(directory), name.rpartition(".")[2])
                found += ((os.path.join(base, "__init__.py"), [base]), (base + ".py", None))
        # What is part of the generation comes before what has come to the disk since.
        found.sort(key=lambda f: not native["is_held"](f[0]))
        for file, inside in found:
            text = native["import_file"](file)
            if text is not None:
                spec = ModuleSpec(name, cls(file, text), origin=file)
                spec.submodule_search_locations = inside
                spec.has_location = True
                return spec
        return None

    def create_module(self, spec):
        return None

    def exec_module(self, module):
        run(module.__dict__, self.file, self.text)

    def get_source(self, name):
        return importlib.util.decode_source(self.text)


def run(names, file, text):
    """Runs a text with these names, such that errors name its file and show its lines."""
    code = compile(text, file, "exec", dont_inherit=True)
    lines = importlib.util.decode_source(text).splitlines(True)
    # Without a time of change the entry is never compared with the disk, which may be newer.
    linecache.cache[file] = (len(text), None, lines, file)
    exec(code, names)


def take_users_modules():
    """Takes what belongs to the running generation out of `sys.modules`."""
    taken = {}
    for name, module in list(sys.modules.items()):
        names = getattr(module, "__dict__", None) or {}
        loader = getattr(names.get("__spec__"), "loader", None)
        ours = name.split(".")[0] in ("KSR", "Router") or names.get("__olelo__") is True
        if ours or isinstance(loader, Users) or is_users_namespace(names):
            taken[name] = sys.modules.pop(name)
    return taken


def is_users_namespace(names):
    return names.get("__file__") is None and any(map(is_users, names.get("__path__") or ()))


# ---- generations


class Generation:
    """The scripts of one generation, as one module that no other shares."""

    count = 0
    # The one whose modules are in `sys.modules`, by its number.
    serving = 0

    def __init__(self, files, settings, exports, rank):
        Generation.count += 1
        self.number = Generation.count
        self.arity = {}
        make_router(make_ksr(exports))
        stem = os.path.splitext(os.path.basename(files[0][0]))[0]
        self.module = types.ModuleType("%s#%d" % (stem, self.number))
        self.module.__olelo__ = True
        self.object = None
        sys.modules[self.module.__name__] = self.module
        for file, text in files:
            file = os.path.abspath(file)
            self.module.__file__ = file
            run(self.module.__dict__, file, text)
        self.begin(settings)
        if rank is not None:
            self.begin_child(settings, rank)

    def begin(self, settings):
        make = self.module.__dict__.get(settings["mod_init_function"])
        if callable(make):
            self.object = make()
            if self.object is None and not callable(getattr(self.module, "ksr_request_route", None)):
                raise Error(
                    "%s: %s() returned None: it must return the object whose methods are the routes"
                    % (self.module.__file__, settings["mod_init_function"])
                )
        name = settings["script_init"]
        if name:
            self.named(name)()

    def begin_child(self, settings, rank):
        name = settings["child_init_method"]
        holder = self.module if self.object is None else self.object
        child_init = getattr(holder, name, None)
        if callable(child_init):
            child_init(*(rank,)[: self.most_arguments(child_init)])
        name = settings["script_child_init"]
        if name:
            self.named(name)(rank)

    def named(self, name):
        found = self.lookup(name)
        if found is None:
            raise Error("%s: has no function %s" % (self.module.__file__, name))
        return found[0]

    def lookup(self, name):
        """What is a route of this name now, and how many arguments it takes at most."""
        for holder in (self.object, self.module):
            found = None if holder is None else getattr(holder, name, None)
            if callable(found):
                return found, self.most_arguments(found)
        return None

    def most_arguments(self, f):
        """Remembered where it takes long to find out."""
        bound = isinstance(f, types.MethodType)
        code = getattr(f.__func__ if bound else f, "__code__", None)
        if code is not None:
            return 8 if code.co_flags & 4 else code.co_argcount - bound  # *args
        known = self.arity.get(id(f))
        # The entry keeps its object, so that no other has its `id`.
        if known is None or known[0] is not f:
            if len(self.arity) >= 1000:
                self.arity.clear()
            known = self.arity[id(f)] = f, most_arguments(f)
        return known[1]

    def run(self, text, name):
        run(self.module.__dict__, name, text)

    def end(self):
        """It serves no longer: what its threads and others still hold stays theirs."""
        if Generation.serving == self.number:
            take_users_modules()


def most_arguments(f):
    """Of what is no function of Python's own."""
    import inspect

    try:
        kinds = [p.kind for p in inspect.signature(f).parameters.values()]
    except (TypeError, ValueError):
        return 2
    if inspect.Parameter.VAR_POSITIONAL in kinds:
        return 8
    return sum(k < inspect.Parameter.VAR_POSITIONAL for k in kinds)


def collect():
    """Frees what an ended generation held; what is there now the collector passes over."""
    gc.unfreeze()
    try:
        gc.collect()
    finally:
        gc.freeze()


def load(files, settings, exports, rank):
    """Builds a generation, or leaves all as it was."""
    before, path = take_users_modules(), list(sys.path)
    beside = os.path.dirname(os.path.abspath(files[0][0]))
    sys.path[:] = [beside] + [p for p in BASE_PATH if p != beside]
    try:
        made = Generation(files, settings, exports, rank)
    except BaseException:
        take_users_modules()
        sys.modules.update(before)
        sys.path[:] = path
        raise
    Generation.serving = made.number
    del before
    gc.collect()
    # What is there now stays: the collector need not look at it for each message.
    gc.freeze()
    return made


# ---- errors


def describe(kind, value, trace):
    """An error as text: where, what, and the way there without the steps of this file."""
    whole = traceback.TracebackException(kind, value, trace)
    part, seen = whole, set()
    while part is not None and id(part) not in seen:
        seen.add(id(part))
        part.stack[:] = [s for s in part.stack if not is_internal(s.filename)]
        part = part.__cause__ or part.__context__
    what = "".join(whole.format_exception_only()).strip().split("\n")[-1]
    if isinstance(value, SyntaxError) and value.filename:
        where = "%s:%s:%s: " % (value.filename, value.lineno, value.offset)
    elif whole.stack:
        where = "%s:%s: " % (whole.stack[-1].filename, whole.stack[-1].lineno)
    else:
        where = ""
    return where + what + "\n" + "".join(whole.format()).rstrip()


def is_internal(file):
    return file == ME or file.startswith("<frozen importlib")


# ---- what would harm the process


def refuse_signal(*args):
    raise ValueError("signals belong to the server: a script can't handle them")


def limited_recursion(limit, set_limit=sys.setrecursionlimit):
    set_limit(min(limit, DEEPEST))


_signal.signal(_signal.SIGINT, native["on_interrupt"])
_signal.signal = refuse_signal
sys.setrecursionlimit = limited_recursion
# What `subprocess` forks becomes another program at once; any other child would be a second worker
# with the same slot and the same message.
_posixsubprocess.fork_exec = native["may_fork"](_posixsubprocess.fork_exec)
os.register_at_fork(after_in_child=native["in_forked_child"])
sys.meta_path.insert(0, Users)
# A thread of a script that computes lets the worker on within this time.
sys.setswitchinterval(0.001)
if not hasattr(sys, "argv"):
    sys.argv = [""]
