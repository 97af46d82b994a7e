// SPDX-License-Identifier: Apache-2.0
// Runs the simulated SoC: a clock, a reset, and a receiver for its serial port.
// program CYCLES BIT: at most so many clock cycles, BIT of them per bit of the line. Writes what the SoC prints, up to
// the character "end of transmission", to standard output, and the cycles taken to standard error. Exit code 3 if the
// cycles are over before that.
#include <cstdio>
#include <cstdlib>

#include "Vtop.h"
#include "verilated.h"

int main(int argc, char **argv)
{
    VerilatedContext context;
    context.commandArgs(argc, argv);
    Vtop soc{&context};
    const unsigned long limit = std::strtoul(argv[1], nullptr, 10);
    const unsigned bit = std::strtoul(argv[2], nullptr, 10);
    unsigned wait = 0, bits = 0, frame = 0;

    soc.serial_rx = 1;
    for (unsigned long cycle = 0; cycle < limit; cycle++) {
        soc.rst = cycle < 16;
        soc.clk = 0;
        soc.eval();
        soc.clk = 1;
        soc.eval();
        if (bits == 0 && cycle > 32 && !soc.serial_tx) { // a start bit
            wait = bit / 2;
            bits = 10;
            frame = 0;
        } else if (bits && wait-- == 0) { // the middle of a bit
            frame = frame >> 1 | unsigned(soc.serial_tx) << 9;
            wait = bit - 1;
            if (--bits == 0) {
                const int character = frame >> 1 & 255;
                if (!(frame & 512)) {
                    std::fprintf(stderr, "no stop bit\n");
                    return 4;
                }
                if (character == 4) {
                    std::fprintf(stderr, "%lu\n", cycle);
                    return 0;
                }
                std::putchar(character);
            }
        }
    }
    std::fprintf(stderr, "%lu\n", limit);
    return 3;
}
