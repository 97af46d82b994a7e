"""The prefix of everything that a unit's files name: modules, macros, C symbols, and the files themselves."""

from __future__ import annotations

import re

#: The prefix of a unit for which none was asked.
DEFAULT = "rlu"

#: Reserved words of IEEE 1800-2017 (Annex B), C17 (6.4.1) and C++20 (lex.key), in lower case.
_WORDS = """
accept_on alias always always_comb always_ff always_latch and assert assign assume automatic before begin bind bins
binsof bit break buf bufif0 bufif1 byte case casex casez cell chandle checker class clocking cmos config const
constraint context continue cover covergroup coverpoint cross deassign default defparam design disable dist do edge
else end endcase endchecker endclass endclocking endconfig endfunction endgenerate endgroup endinterface endmodule
endpackage endprimitive endprogram endproperty endspecify endsequence endtable endtask enum event eventually expect
export extends extern final first_match for force foreach forever fork forkjoin function generate genvar global highz0
highz1 if iff ifnone ignore_bins illegal_bins implements implies import incdir include initial inout input inside
instance int integer interconnect interface intersect join join_any join_none large let liblist library local
localparam logic longint macromodule matches medium modport module nand negedge nettype new nexttime nmos nor
noshowcancelled not notif0 notif1 null or output package packed parameter pmos posedge primitive priority program
property protected pull0 pull1 pulldown pullup pulsestyle_ondetect pulsestyle_onevent pure rand randc randcase
randsequence rcmos real realtime ref reg reject_on release repeat restrict return rnmos rpmos rtran rtranif0 rtranif1
s_always s_eventually s_nexttime s_until s_until_with scalared sequence shortint shortreal showcancelled signed small
soft solve specify specparam static string strong strong0 strong1 struct super supply0 supply1 sync_accept_on
sync_reject_on table tagged task this throughout time timeprecision timeunit tran tranif0 tranif1 tri tri0 tri1 triand
trior trireg type typedef union unique unique0 unsigned until until_with untyped use uwire var vectored virtual void
wait wait_order wand weak weak0 weak1 while wildcard wire with within wor xnor xor auto char double float goto inline
long register short sizeof switch volatile alignas alignof and_eq asm bitand bitor bool catch char16_t char32_t
char8_t co_await co_return co_yield compl concept const_cast consteval constexpr constinit decltype delete
dynamic_cast explicit false friend mutable namespace noexcept not_eq nullptr operator or_eq private public
reinterpret_cast requires static_assert static_cast template thread_local throw true try typeid typename using wchar_t
xor_eq
"""
_KEYWORDS = frozenset(_WORDS.split())

#: Headers of C17, C++20 and POSIX, which a driver of that name would hide from the whole program; and families of
#: POSIX whose functions, such as ``sem_open``, the driver's would be.
_TAKEN = """
assert complex ctype errno fenv float inttypes iso646 limits locale math setjmp signal stdalign stdarg stdatomic stdbool
stddef stdint stdio stdlib stdnoreturn string tgmath threads time uchar wchar wctype
aio cpio dirent dlfcn fcntl fmtmsg fnmatch ftw glob grp iconv langinfo libgen monetary mqueue ndbm net netdb nl_types
poll pthread pwd regex sched search semaphore spawn strings stropts syslog tar termios trace ulimit unistd utime utmpx
wordexp
dbm mq sem shm
"""
_HEADERS = frozenset(_TAKEN.split())


def checked_name(name: str) -> str:
    """The prefix, if Verilog, C and a file system take it.

    Raises:
        ValueError: for one that is no plain identifier or, in any case of letters, a reserved word of Verilog,
            SystemVerilog, C or C++, or the name of a header of C.
    """
    # C and C++ keep names with two underscores in a row for themselves, and an underscore follows the prefix.
    if not re.fullmatch(r"[A-Za-z](_?[A-Za-z0-9])*", name) or len(name) > 64:
        raise ValueError(
            f"the name must be an identifier: a letter, then letters, digits and single underscores between them, "
            f"64 at most; {name!r} is not"
        )
    if name.lower() in _KEYWORDS:
        raise ValueError(f"the name {name!r} is a reserved word of Verilog, SystemVerilog, C or C++: take another one")
    if name.lower() in _HEADERS:
        raise ValueError(f"the name {name!r} is that of a header or of functions of C, which the driver would hide: "
                         "take another one")  # fmt: skip
    return name


#: Files of a package by their endings; what else is called ``rlu`` is the command of this project, or an instance.
_FILES = r"\*?\.(?:v|vh|sv|h|c|hpp|svd|rdl|xml|html|json|vlt|core|sdc|lpf|gtkw|sh)\b"
#: ``rlu_x`` and ``rlu.h``, also in a path; not ``u_rlu``, and not the instance in ``u_rlu.rlu.core``.
_LOWER = re.compile(rf"(?<![\w.$\\]){DEFAULT}(?=_[A-Za-z0-9]|{_FILES})")
#: ``RLU_X``, and what an XML file has as the name of all registers.
_UPPER = re.compile(rf"(?<![\w$\\]){DEFAULT.upper()}(?=_[A-Za-z0-9])|(?<=name>){DEFAULT.upper()}(?=</)")


def renamed(text: str, name: str) -> str:
    """A text or a path of a package, as it is written for the prefix ``rlu``, with another prefix.

    Lower-case names get the prefix as it is, upper-case ones (macros, constants of C) get it in upper case.
    """
    if name == DEFAULT:
        return text
    return _UPPER.sub(name.upper(), _LOWER.sub(name, text))
