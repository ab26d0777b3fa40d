# For gdb: tells of each call of the library's allocation functions who calls, after a breakpoint at BEGIN and until one at END or until so many
# calls have come; then writes the core and ends the program. What was inlined, or jumped on instead of calling, has no frame: gdb
# makes those up from debug information.
import gdb
import os

ALLOCATE = ["malloc", "calloc", "posix_memalign", "aligned_alloc", "_Znwm", "_Znam", "_ZnwmSt11align_val_t"]
FREE = ["free", "_ZdlPv", "_ZdlPvm", "_ZdaPv", "_ZdlPvmSt11align_val_t"]
CALLS_MAX = 700
DEPTH_MAX = 64
calls = 0


def is_library(pc):
    return "libumem" in (gdb.solib_name(pc) or "")


def callers():
    """Program counters of all callers of the current frame. gdb takes the link of a context of makecontext for a return address: behind the
    function that runs on such a stack, and the code that called it, there is nothing."""
    pcs, last = [], False
    frame = gdb.newest_frame().older()
    while frame is not None and len(pcs) < DEPTH_MAX:
        if frame.type() not in (gdb.INLINE_FRAME, gdb.TAILCALL_FRAME):
            pcs.append(frame.pc())
            if last:
                break
            last = frame.name() == "coroutine"
        frame = frame.older()
    return pcs


class Call(gdb.Breakpoint):
    def __init__(self, function):
        super().__init__("-qualified -function " + function, internal=True)
        self.function = function

    def stop(self):
        global calls
        frame = gdb.newest_frame()
        if not is_library(frame.pc()):
            return False
        pcs = callers()
        # The library starts a thread of its own, from within a call.
        if any(map(is_library, pcs)):
            return False
        has_buffer = int(frame.read_register("rdi")) != 0
        kinds = ["free"] if has_buffer else []
        if self.function in ALLOCATE:
            kinds = ["alloc"]
        elif self.function == "realloc":
            kinds = ["alloc"] + kinds
        thread = gdb.selected_thread().ptid[1]
        calls += 1
        # The last call will not have been made in the core.
        if calls > CALLS_MAX:
            return True
        for kind in kinds:
            print("CALL", thread, kind, *map(hex, pcs))
        return False


gdb.execute("set pagination off")
gdb.execute("set confirm off")
gdb.execute("set breakpoint pending on")
gdb.execute("set backtrace past-main on")
gdb.execute("handle SIGUSR1 SIGUSR2 nostop noprint pass")
gdb.execute("tbreak " + os.environ["BEGIN"])
gdb.execute("run")
for function in ALLOCATE + FREE + ["realloc"]:
    Call(function)
gdb.execute("break " + os.environ["END"])
gdb.execute("continue")
gdb.execute("generate-core-file " + os.environ["CORE"])
gdb.execute("kill")
