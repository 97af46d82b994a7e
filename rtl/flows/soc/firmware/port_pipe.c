/* SPDX-License-Identifier: Apache-2.0
 * The firmware's port on a host: the unit is at the other end of a pipe, "r ADDRESS" and "w ADDRESS WORD" in
 * hexadecimal; "p LINE" is what the firmware prints. There is no interrupt. */
#include <stdio.h>

#include "port.h"

uint32_t port_read(uint32_t offset)
{
    unsigned word;

    printf("r %x\n", (unsigned)offset);
    fflush(stdout);
    return scanf("%x", &word) == 1 ? (uint32_t)word : 0;
}

void port_write(uint32_t offset, uint32_t word)
{
    printf("w %x %x\n", (unsigned)offset, (unsigned)word);
}

void port_print(char character)
{
    static char line[128];
    static unsigned length;

    if (character != '\n' && length < sizeof line - 1) {
        line[length++] = character;
        return;
    }
    line[length] = 0;
    printf("p %s\n", line);
    length = 0;
}

void irq_enable(void)
{
}
