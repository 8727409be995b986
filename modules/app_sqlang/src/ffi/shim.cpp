/* Between Squirrel and ../ffi.rs: machines with a heap of their own, and calls that can be left.
 *
 * There are two ways out of a script that may not go on. The soft one is the patched interpreter's
 * `_stop`: calls, loops and the catching of errors look at it, all frames are left as by an error that
 * nothing catches, and the machine is whole afterwards. Exit, drop, the end of the time and a heap a
 * little too large go this way. The hard one is `leave`: a jump out of native code to the call that
 * entered the machine, which is dead from then on, because what the jump passed over is in any state. A
 * block that fits nowhere and a native loop whose time is over go this way. The heap is then given
 * back whole and no destructor runs.
 *
 * A jump never passes over a frame of Rust: `export_thunk` takes the way out away (`way_out`) before it
 * calls Rust, and a nested entry sets its own.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include "sqpcheader.h"
#include "sqvm.h"
#include "sqstring.h"
#include "sqtable.h"
#include "sqfuncproto.h"
#include "sqclosure.h"
#include <sqstdblob.h>
#include <sqstdio.h>
#include <sqstdmath.h>
#include <sqstdstring.h>
#include <sqstdsystem.h>
#include "heap.h"

void sq_drop_forget();

/* Given by ../ffi.rs. Neither panics. */
extern "C" int olelo_squirrel_export(HSQUIRRELVM v, void *function, long long args);
extern "C" void olelo_squirrel_print(const char *text, size_t len, int error);
extern "C" int olelo_squirrel_import(HSQUIRRELVM v, void *user, const char *path, size_t len);

namespace {

/* How far above its limit a heap may get while the script is being stopped softly. */
const size_t SLACK = 8 << 20;
/* Cycles of garbage are looked for when this much is in use, or twice what the last search left; but
 * long before the limit. */
const size_t COLLECT_FROM = 8 << 20;
const size_t LONGEST_TRACE = 8192;
const int MOST_FRAMES = 24;

/* A file that a script has open. It is in a list, because the hard way out runs no destructor. */
struct OpenFile {
    FILE *file;
    OpenFile *next;
};

struct Machine {
    Heap heap;
    OpenFile *files = NULL;
    HSQUIRRELVM v = NULL;
    size_t limit = 0;
    size_t collect_at = 0;
    jmp_buf *way_out = NULL;
    void *user = NULL;
    bool running = false; /* it is called, at whatever depth */
    bool ending = false;  /* exit or drop */
    bool over = false;    /* of its memory */
    bool dead = false;
    char trace[LONGEST_TRACE];
    size_t traced = 0;
};

__thread Machine *current;

/* Makes a machine the one that allocations are for. */
struct Current {
    Machine *before;
    explicit Current(Machine *m) : before(current) { current = m; }
    ~Current() { current = before; }
};

volatile int *stop_flag(Machine *m) { return &_ss(m->v)->_stop; }

void trace(Machine *m, const char *format, ...)
{
    size_t room = sizeof m->trace - m->traced;
    va_list args;
    va_start(args, format);
    int n = vsnprintf(m->trace + m->traced, room, format, args);
    va_end(args);
    if (n > 0) m->traced += (size_t)n < room ? (size_t)n : room - 1;
}

void trace_frames(Machine *m, HSQUIRRELVM v, const char *what)
{
    SQStackInfos at;
    SQInteger depth = v->_callsstacksize;
    bool first = true;
    m->traced = 0;
    for (SQInteger i = 0; i < depth; i++) {
        if (i == MOST_FRAMES) { trace(m, "\n\t... %lld more", (long long)(depth - i)); break; }
        if (sq_stackinfos(v, i, &at) < 0) break;
        const char *name = at.funcname ? at.funcname : "?";
        if (at.line < 0) {
            if (!first) trace(m, "\n\t[native]: in function '%s'", name);
            continue;
        }
        if (first) trace(m, "%s:%lld: %s\nstack traceback:", at.source, (long long)at.line, what);
        first = false;
        trace(m, "\n\t%s:%lld: in function '%s'", at.source, (long long)at.line, name);
    }
    if (first) trace(m, "%s", what);
}

/* What an error says, whatever was thrown. */
const char *text_of(const SQObjectPtr &error, char *room, size_t size)
{
    switch (sq_type(error)) {
    case OT_STRING: return _stringval(error);
    case OT_INTEGER: snprintf(room, size, "%lld", (long long)_integer(error)); return room;
    case OT_FLOAT: snprintf(room, size, "%g", _float(error)); return room;
    default: snprintf(room, size, "a %s was thrown", GetTypeName(error)); return room;
    }
}

void on_raise(HSQUIRRELVM v, const SQObjectPtr &error)
{
    Machine *m = (Machine *)_ss(v)->_foreignptr;
    char room[64];
    if (!m->ending) trace_frames(m, v, text_of(error, room, sizeof room));
}

/* As the interpreter names positions; the text of a compile error has no traceback. */
void on_compile_error(HSQUIRRELVM v, const SQChar *what, const SQChar *file, SQInteger line, SQInteger column)
{
    Machine *m = (Machine *)_ss(v)->_foreignptr;
    m->traced = 0;
    trace(m, "%s:%lld:%lld: %s", file, (long long)line, (long long)column, what);
}

/* The hard way out; does nothing where there is none. */
void leave(Machine *m)
{
    if (!m || !m->way_out) return;
    if (!m->dead) trace_frames(m, m->v, "stopped");
    m->dead = true;
    longjmp(*m->way_out, 1);
}

bool fits(const Machine *m, size_t more, size_t limit)
{
    return more <= limit && m->heap.held + more <= limit;
}

/* The heap is about to grow by this much. Stops the script where it may not. */
void make_room(Machine *m, size_t more)
{
    if (more == 0 || fits(m, more, m->limit)) return;
    if (!m->over) m->heap.trim();
    if (fits(m, more, m->limit)) return;
    m->over = true;
    if (m->v) *stop_flag(m) = 1;
    if (!fits(m, more, m->limit + SLACK)) leave(m);
}

/* Looks for cycles of garbage; the next time before half of the room that is left is used up. */
void collect(Machine *m)
{
    sq_collectgarbage(m->v);
    m->heap.trim();
    size_t used = m->heap.used;
    size_t room = m->limit > used ? m->limit - used : 0;
    size_t twice = used * 2 > COLLECT_FROM ? used * 2 : COLLECT_FROM;
    m->collect_at = twice < used + room / 2 ? twice : used + room / 2;
}

/* The system has no memory and there is no way out: as in Rust, that is the end. */
void *or_die(Machine *m, void *p)
{
    if (!p) {
        m->over = true;
        leave(m);
        abort();
    }
    return p;
}

void print(HSQUIRRELVM, const SQChar *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!strcmp(format, "%s")) {
        const char *s = va_arg(args, const char *);
        olelo_squirrel_print(s, strlen(s), 0);
    }
    va_end(args);
}

void print_error(HSQUIRRELVM, const SQChar *format, ...)
{
    va_list args;
    va_start(args, format);
    if (!strcmp(format, "%s")) {
        const char *s = va_arg(args, const char *);
        olelo_squirrel_print(s, strlen(s), 1);
    }
    va_end(args);
}

/* Behind every KSR.x.y; its free variable, on top of the stack, is the address of the export. */
SQInteger export_thunk(HSQUIRRELVM v)
{
    Machine *m = current;
    SQUserPointer function = NULL;
    sq_getuserpointer(v, -1, &function);
    jmp_buf *way_out = m->way_out;
    m->way_out = NULL;
    int ran = olelo_squirrel_export(v, function, sq_gettop(v) - 2);
    m->way_out = way_out;
    if (m->dead) leave(m);
    if (ran != 2) return ran; /* 1: a value on the stack, 0: none, -1: an error was set */
    m->ending = true;
    *stop_flag(m) = 1;
    return sq_throwerror(v, "exit");
}

/* Compiles what `loadfile` and `dofile` name; leaves the function on the stack. */
bool import(HSQUIRRELVM v)
{
    Machine *m = current;
    const SQChar *path;
    SQInteger len;
    if (sq_getstringandsize(v, 2, &path, &len) < 0) return false;
    jmp_buf *way_out = m->way_out;
    m->way_out = NULL;
    int read = olelo_squirrel_import(v, m->user, path, (size_t)len);
    m->way_out = way_out;
    if (read < 0) return false; /* an error was set */
    const SQChar *text;
    SQInteger size;
    sq_getstringandsize(v, -1, &text, &size);
    if (sq_compilebuffer(v, text, size, path, SQTrue) >= 0) return true;
    sq_throwerror(v, m->trace); /* with the position; a script may catch it */
    return false;
}

SQInteger load_file(HSQUIRRELVM v) { return import(v) ? 1 : SQ_ERROR; }

SQInteger do_file(HSQUIRRELVM v)
{
    if (!import(v)) return SQ_ERROR;
    sq_push(v, 1);
    return sq_call(v, 1, SQTrue, SQTrue) < 0 ? SQ_ERROR : 1;
}

void add_function(HSQUIRRELVM v, const char *name, SQFUNCTION f, SQInteger params, const char *types)
{
    sq_pushstring(v, name, -1);
    sq_newclosure(v, f, 0);
    sq_setparamscheck(v, params, types);
    sq_setnativeclosurename(v, -1, name);
    sq_newslot(v, -3, SQFalse);
}

void open_libraries(HSQUIRRELVM v)
{
    sq_pushroottable(v);
    sqstd_register_bloblib(v);
    sqstd_register_iolib(v);
    sqstd_register_mathlib(v);
    sqstd_register_stringlib(v);
    sqstd_register_systemlib(v);
    /* In place of the library's own: a reload knows what they read. */
    add_function(v, "loadfile", load_file, -2, ".sb");
    add_function(v, "dofile", do_file, -2, ".sb");
    sq_pop(v, 1);
}

/* How a call ended; ../ffi.rs has the same. */
enum { RETURNED, FAILED, ENDED, STOPPED, MISSING };

struct Result {
    int ended;
    int type; /* of the value returned */
    long long value;
};

/* How many arguments the function on top takes, `this` not counted. What is given beyond is left out:
 * a route need not take the name of its event. */
size_t most_args(HSQUIRRELVM v)
{
    SQObjectPtr &f = stack_get(v, -1);
    if (sq_type(f) != OT_CLOSURE || _closure(f)->_function->_varparams) return 255;
    return (size_t)_closure(f)->_function->_nparameters - 1;
}

/* Takes the value on top. */
void take_result(HSQUIRRELVM v, Result *r)
{
    r->type = (int)sq_gettype(v, -1);
    SQInteger i = 0;
    SQBool b = SQFalse;
    if (r->type == OT_BOOL) { sq_getbool(v, -1, &b); i = b; }
    else if (r->type & SQOBJECT_NUMERIC) sq_getinteger(v, -1, &i);
    r->value = i;
}

/* Calls what is on the stack with `args` arguments; `this` is the first. */
void run(Machine *m, SQInteger args, Result *r)
{
    HSQUIRRELVM v = m->v;
    _ss(v)->_raised = false;
    m->traced = 0;
    if (sq_call(v, args, SQTrue, SQTrue) >= 0 && !m->ending && !*stop_flag(m)) {
        take_result(v, r);
        r->ended = RETURNED;
    } else if (m->ending) {
        r->ended = ENDED;
    } else if (*stop_flag(m)) {
        r->ended = STOPPED;
    } else {
        r->ended = FAILED;
        char room[64];
        if (!m->traced) trace(m, "%s", text_of(v->_lasterror, room, sizeof room));
    }
}

/* Enters the machine: `work(m)` may be left at any place. */
template <typename Work> void enter(Machine *m, Result *r, Work work)
{
    Current c(m);
    if (m->dead) { r->ended = STOPPED; return; }
    HSQUIRRELVM v = m->v;
    SQInteger top = sq_gettop(v);
    bool outermost = !m->running;
    if (outermost) {
        if (m->over || m->heap.used > m->collect_at) collect(m);
        *stop_flag(m) = 0; /* a tick may have come after the last call */
        m->over = false;
    }
    jmp_buf *volatile way_out = m->way_out;
    jmp_buf here;
    m->running = true;
    if (setjmp(here) == 0) {
        m->way_out = &here;
        work(m);
        sq_settop(v, top);
    } else {
        r->ended = STOPPED;
        sq_drop_forget();
    }
    m->way_out = way_out;
    if (outermost) m->running = false;
    /* An inner call that was stopped stops the outer one as well; one that ended leaves it to Rust. */
    if (outermost || m->ending) *stop_flag(m) = 0;
    m->ending = false;
}

} // namespace

void *sq_vm_malloc(SQUnsignedInteger size)
{
    make_room(current, current->heap.cost(size));
    return or_die(current, current->heap.take(size));
}

void *sq_vm_realloc(void *p, SQUnsignedInteger before, SQUnsignedInteger size)
{
    make_room(current, current->heap.cost(p, before, size));
    return or_die(current, current->heap.change(p, before, size));
}

void sq_vm_free(void *p, SQUnsignedInteger size) { current->heap.give(p, size); }

FILE *sq_vm_fopen(const char *path, const char *mode)
{
    /* First the place in the list: it may be the block that fits nowhere. */
    OpenFile *f = (OpenFile *)sq_vm_malloc(sizeof(OpenFile));
    f->file = fopen(path, mode);
    if (!f->file) {
        sq_vm_free(f, sizeof(OpenFile));
        return NULL;
    }
    f->next = current->files;
    current->files = f;
    return f->file;
}

int sq_vm_fclose(FILE *file)
{
    for (OpenFile **at = &current->files; *at; at = &(*at)->next) {
        OpenFile *f = *at;
        if (f->file != file) continue;
        *at = f->next;
        sq_vm_free(f, sizeof(OpenFile));
        break;
    }
    return fclose(file);
}

void sq_vm_poll()
{
    if (current && *stop_flag(current) && !current->ending) leave(current);
}

void sq_vm_too_big()
{
    current->over = true;
    leave(current);
    abort();
}

extern "C" {

/* A machine with the libraries in it. `user` comes back in olelo_squirrel_import. */
Machine *olelo_squirrel_new(size_t limit, void *user)
{
    void *room = malloc(sizeof(Machine));
    if (!room) return NULL;
    Machine *m = new (room) Machine;
    Current c(m);
    m->limit = limit;
    m->user = user;
    HSQUIRRELVM v = sq_open(1024);
    m->v = v;
    _ss(v)->_foreignptr = m;
    _ss(v)->_onraise = on_raise;
    sq_setprintfunc(v, print, print_error);
    sq_setcompilererrorhandler(v, on_compile_error);
    open_libraries(v);
    collect(m);
    return m;
}

void olelo_squirrel_free(Machine *m)
{
    Current c(m);
    if (!m->dead) sq_close(m->v);
    while (m->files) sq_vm_fclose(m->files->file);
    m->~Machine();
    free(m);
}

/* The word that stops the script when it isn't 0; a signal handler may set it. */
volatile int *olelo_squirrel_stop(Machine *m) { return stop_flag(m); }

int olelo_squirrel_over(const Machine *m) { return m->over; }

int olelo_squirrel_dead(const Machine *m) { return m->dead; }

size_t olelo_squirrel_used(const Machine *m) { return m->heap.used; }

/* Text of the last error; lives until the next call. */
const char *olelo_squirrel_trace(const Machine *m, size_t *len)
{
    *len = m->traced;
    return m->trace;
}

/* Adds KSR.module.name, or KSR.name without a module. */
void olelo_squirrel_bind(Machine *m, const char *module, const char *name, void *function)
{
    Current c(m);
    HSQUIRRELVM v = m->v;
    SQInteger top = sq_gettop(v);
    sq_pushroottable(v);
    const char *tables[] = {"KSR", module};
    for (int i = 0; i < (*module ? 2 : 1); i++) {
        sq_pushstring(v, tables[i], -1);
        if (sq_rawget(v, -2) < 0) {
            sq_pushstring(v, tables[i], -1);
            sq_newtable(v);
            sq_newslot(v, -3, SQFalse);
            sq_pushstring(v, tables[i], -1);
            sq_rawget(v, -2);
        }
    }
    sq_pushstring(v, name, -1);
    sq_pushuserpointer(v, function);
    sq_newclosure(v, export_thunk, 1);
    sq_setnativeclosurename(v, -1, name);
    sq_newslot(v, -3, SQFalse);
    sq_settop(v, top);
}

/* Whether there is a global function of this name. */
int olelo_squirrel_has(Machine *m, const char *name, size_t len)
{
    Current c(m);
    if (m->dead) return 0;
    HSQUIRRELVM v = m->v;
    SQInteger top = sq_gettop(v);
    sq_pushroottable(v);
    sq_pushstring(v, name, (SQInteger)len);
    int found = sq_rawget(v, -2) >= 0 && (sq_gettype(v, -1) == OT_CLOSURE || sq_gettype(v, -1) == OT_NATIVECLOSURE);
    sq_settop(v, top);
    return found;
}

struct Text { const char *at; size_t len; };

/* Calls a global function with these strings. */
void olelo_squirrel_call(Machine *m, const char *name, size_t len, const Text *args, size_t n, Result *r)
{
    enter(m, r, [=](Machine *m) {
        HSQUIRRELVM v = m->v;
        sq_pushroottable(v);
        sq_pushstring(v, name, (SQInteger)len);
        if (sq_rawget(v, -2) < 0 || !(sq_gettype(v, -1) == OT_CLOSURE || sq_gettype(v, -1) == OT_NATIVECLOSURE)) {
            r->ended = MISSING;
            return;
        }
        size_t most = most_args(v);
        sq_pushroottable(v);
        size_t given = n < most ? n : most;
        for (size_t i = 0; i < given; i++) sq_pushstring(v, args[i].at, (SQInteger)args[i].len);
        run(m, (SQInteger)given + 1, r);
    });
}

/* Compiles and runs a text. */
void olelo_squirrel_run(Machine *m, const char *text, size_t len, const char *name, Result *r)
{
    enter(m, r, [=](Machine *m) {
        HSQUIRRELVM v = m->v;
        if (sq_compilebuffer(v, text, (SQInteger)len, name, SQTrue) < 0) {
            r->ended = *stop_flag(m) ? STOPPED : FAILED;
            return;
        }
        sq_pushroottable(v);
        run(m, 1, r);
    });
}

/* C++'s runtime library is not linked: nothing throws, and these are never reached. Should a library
 * that is loaded later find them, they do what its own would. */
__attribute__((visibility("hidden"))) void __cxa_pure_virtual() { abort(); }

} // extern "C"

void operator delete(void *p, size_t) noexcept { free(p); }
void operator delete(void *p) noexcept { free(p); }
