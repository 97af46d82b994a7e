"""A program with the package's C driver, at one end of a pipe, and a device at the other."""

import subprocess

from sim.devices.device import READ, WAIT, WRITE, Op

#: The driver's way to the device, in C: "r ADDRESS" and "w ADDRESS WORD" in hexadecimal. A program may also print "i",
#: to sleep until the unit is idle, and "reset", for a fresh device. Any other line is what it says.
PIPE = r"""
#include <stdio.h>

#include "rlu.h"

static uint32_t pipe_read(void *context, uint32_t offset)
{
    unsigned word;

    (void)context;
    printf("r %x\n", (unsigned)offset);
    fflush(stdout);
    return scanf("%x", &word) == 1 ? (uint32_t)word : 0;
}

static void pipe_write(void *context, uint32_t offset, uint32_t word)
{
    (void)context;
    printf("w %x %x\n", (unsigned)offset, (unsigned)word);
}
"""


def served(program, device, fresh=None):
    """Run a program that contains `PIPE` with a device, for at most five minutes; returns the lines that it said."""
    said = []
    command = ["timeout", "300", program]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            kind, *words = line.split()
            if kind == "r":
                (word,) = device.transact([Op(READ, int(words[0], 16))])
                process.stdin.write(f"{word:x}\n")
                process.stdin.flush()
            elif kind == "w":
                device.transact([Op(WRITE, int(words[0], 16), int(words[1], 16))])
            elif kind == "i":
                device.transact([Op(WAIT)])
            elif kind == "reset":
                device = fresh
            else:
                said.append(line.strip())
    assert process.returncode == 0
    return said
