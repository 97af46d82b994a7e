/* SPDX-License-Identifier: Apache-2.0
 * Reset and interrupt of VexRiscv and PicoRV32: a stack, clean memory, one handler in C, then main. */
#include "soc.h"

#define SAVED 16

    .section .start, "ax"
    .global start, irq_enable
start:
    j begin
    .balign 16 /* PicoRV32 jumps here on an interrupt: 16 bytes after reset; VexRiscv where mtvec points */
interrupt:
    addi sp, sp, -4 * SAVED
    sw ra, 0(sp)
    sw t0, 4(sp)
    sw t1, 8(sp)
    sw t2, 12(sp)
    sw a0, 16(sp)
    sw a1, 20(sp)
    sw a2, 24(sp)
    sw a3, 28(sp)
    sw a4, 32(sp)
    sw a5, 36(sp)
    sw a6, 40(sp)
    sw a7, 44(sp)
    sw t3, 48(sp)
    sw t4, 52(sp)
    sw t5, 56(sp)
    sw t6, 60(sp)
    call handle_interrupt
    lw ra, 0(sp)
    lw t0, 4(sp)
    lw t1, 8(sp)
    lw t2, 12(sp)
    lw a0, 16(sp)
    lw a1, 20(sp)
    lw a2, 24(sp)
    lw a3, 28(sp)
    lw a4, 32(sp)
    lw a5, 36(sp)
    lw a6, 40(sp)
    lw a7, 44(sp)
    lw t3, 48(sp)
    lw t4, 52(sp)
    lw t5, 56(sp)
    lw t6, 60(sp)
    addi sp, sp, 4 * SAVED
#ifdef SOC_PICORV32
    .insn r 0x0b, 0, 2, x0, x0, x0 /* retirq */
#else
    mret
#endif

begin:
    la sp, stack_top
    la a0, data_start
    la a1, data_end
    la a2, data_in_rom
1:  bgeu a0, a1, 2f
    lw a3, 0(a2)
    sw a3, 0(a0)
    addi a0, a0, 4
    addi a2, a2, 4
    j 1b
2:  la a0, bss_start
    la a1, bss_end
3:  bgeu a0, a1, 4f
    sw zero, 0(a0)
    addi a0, a0, 4
    j 3b
4:  call main
5:  j 5b

/* Let the unit's interrupt through. */
irq_enable:
#ifdef SOC_PICORV32
    li a0, ~(1 << SOC_UNIT_IRQ)
    .insn r 0x0b, 6, 3, x0, a0, x0 /* maskirq: a 1 masks */
#else
    la a0, interrupt
    csrw mtvec, a0
    li a0, 1 << SOC_UNIT_IRQ
    csrw 0xBC0, a0 /* VexRiscv's mask of external interrupts: a 1 lets through */
    li a0, 1 << 11
    csrw mie, a0 /* external interrupts */
    csrsi mstatus, 8
#endif
    ret
