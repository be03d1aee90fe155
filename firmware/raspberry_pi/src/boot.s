// Leads from the boot firmware to Rust. The firmware starts core 0 here, in EL2, with the address of the device
// tree in x0. The other cores start at `secondary_start` when `cores.rs` wakes them.

.section .text.boot, "ax"

.global _start
_start:
    mov     x20, x0
    mrs     x1, mpidr_el1
    and     x1, x1, #0xff
    cbnz    x1, park

    // Some boot firmware loads the image to another address. Then the image is moved to the address
    // that it is linked for.
    adr     x1, _start
    ldr     x2, =__image_start
    cmp     x1, x2
    b.eq    2f
    ldr     x3, =__image_end
1:  ldp     x4, x5, [x1], #16
    stp     x4, x5, [x2], #16
    cmp     x2, x3
    b.lo    1b
    dsb     sy
    ic      iallu
    dsb     sy
    isb
    ldr     x1, =2f
    br      x1

2:  mov     x19, #0
    bl      enter_el1
    bl      build_page_tables
    bl      enable_mmu
    mov     x0, x20
    bl      primary_main
    b       park

.global secondary_start
secondary_start:
    // The lowest byte is the number of the core. On cores whose lowest byte counts threads it is the next byte.
    mrs     x19, mpidr_el1
    tbz     x19, #24, 1f
    lsr     x19, x19, #8
1:  and     x19, x19, #0xff
    cmp     x19, #4
    b.hs    park
    bl      enter_el1
    bl      enable_mmu
    mov     x0, x19
    bl      secondary_main

park:
    wfe
    b       park

// Takes core x19 from EL2 to EL1, turns the floating-point unit on, and gives the core a stack. Exceptions use another
// stack.
enter_el1:
    mrs     x1, CurrentEL
    cmp     x1, #(2 << 2)
    b.ne    1f
    mov     x1, #(1 << 31)              // EL1 is 64-bit
    msr     hcr_el2, x1
    mov     x1, #3                      // EL1 may read the counter
    msr     cnthctl_el2, x1
    msr     cntvoff_el2, xzr
    mov     x1, #0x33ff                 // no traps for floating point
    msr     cptr_el2, x1
    msr     hstr_el2, xzr
    mrs     x1, pmcr_el0                // all performance counters belong to EL1
    ubfx    x1, x1, #11, #5
    msr     mdcr_el2, x1
    mrs     x1, midr_el1
    msr     vpidr_el2, x1
    mrs     x1, mpidr_el1
    msr     vmpidr_el2, x1
    ldr     x1, =0x30d00800             // MMU and caches off
    msr     sctlr_el1, x1
    mov     x1, #0x3c4                  // EL1 with SP_EL0, interrupts masked
    msr     spsr_el2, x1
    adr     x1, 1f
    msr     elr_el2, x1
    eret
1:  msr     spsel, #1
    ldr     x1, =__fault_stacks
    ldr     x2, =__fault_stack_size
    add     x3, x19, #1
    madd    x1, x2, x3, x1
    mov     sp, x1
    msr     spsel, #0
    ldr     x1, =__stacks
    ldr     x2, =__stack_size
    ldr     x4, =__guard_size
    add     x2, x2, x4
    madd    x1, x2, x3, x1
    mov     sp, x1
    mov     x1, #(3 << 20)
    msr     cpacr_el1, x1
    ldr     x1, =exception_vectors
    msr     vbar_el1, x1
    isb
    msr     fpcr, xzr
    ret

// Turns MMU and caches on. The code uses no memory, because other cores may not see what a core writes before its cache
// is on.
enable_mmu:
    ldr     x1, =__tables
    msr     ttbr0_el1, x1
    ldr     x1, =0xff04                 // attribute 0: device, 1: write-back memory; as in page_tables.rs
    msr     mair_el1, x1
    ldr     x1, =0x0000000200803519     // 39-bit addresses, 4 KiB pages, cached walks, no upper half
    msr     tcr_el1, x1
    dsb     sy
    tlbi    vmalle1
    ic      iallu
    dsb     sy
    isb
    ldr     x1, =0x30d8181d             // MMU, caches, stack alignment checks; nothing is both writable and executable
    msr     sctlr_el1, x1
    isb
    ret

// Each vector passes its number in x0.
.macro vector number
    .balign 0x80
    mov     x0, #\number
    b       exception
.endm

.section .text.vectors, "ax"
.balign 0x800
exception_vectors:
    vector 0
    vector 1
    vector 2
    vector 3
    // These vectors serve exceptions within the handler, which alone runs on SP_EL1. Nothing can be done about them.
    .balign 0x80
    b       park
    .balign 0x80
    b       park
    .balign 0x80
    b       park
    .balign 0x80
    b       park
    vector 8
    vector 9
    vector 10
    vector 11
    vector 12
    vector 13
    vector 14
    vector 15
