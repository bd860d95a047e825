// Switching between stacks.
#pragma once

#include <cstddef>
#include <cstdint>

#if defined(__x86_64__)

// Keeps the registers that a call keeps on this stack, leaves it at *from, and goes on with the stack `to`.
extern "C" void ft_fiber_switch(void **from, void *to);
asm(R"(
    .text
    .globl ft_fiber_switch
    .type ft_fiber_switch, @function
ft_fiber_switch:
    pushq %rbp
    pushq %rbx
    pushq %r12
    pushq %r13
    pushq %r14
    pushq %r15
    movq %rsp, (%rdi)
    movq %rsi, %rsp
    popq %r15
    popq %r14
    popq %r13
    popq %r12
    popq %rbx
    popq %rbp
    ret
    .size ft_fiber_switch, .-ft_fiber_switch
)");

// A stack that a switch enters at `main`.
inline void *ft_fiber_prepare(unsigned char *stack, size_t bytes, void (*main)()) {
    auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~static_cast<uintptr_t>(15);
    // The return address of main, which never returns; so the stack is aligned as after a call.
    auto *words = reinterpret_cast<uintptr_t *>(top) - 1;
    *words = 0;
    *--words = reinterpret_cast<uintptr_t>(main);
    for (int i = 0; i < 6; ++i) {
        *--words = 0;
    }
    return words;
}

#elif defined(__aarch64__)

extern "C" void ft_fiber_switch(void **from, void *to);
asm(R"(
    .text
    .globl ft_fiber_switch
    .type ft_fiber_switch, %function
ft_fiber_switch:
    sub sp, sp, #160
    stp x19, x20, [sp, #0]
    stp x21, x22, [sp, #16]
    stp x23, x24, [sp, #32]
    stp x25, x26, [sp, #48]
    stp x27, x28, [sp, #64]
    stp x29, x30, [sp, #80]
    stp d8, d9, [sp, #96]
    stp d10, d11, [sp, #112]
    stp d12, d13, [sp, #128]
    stp d14, d15, [sp, #144]
    mov x9, sp
    str x9, [x0]
    mov sp, x1
    ldp x19, x20, [sp, #0]
    ldp x21, x22, [sp, #16]
    ldp x23, x24, [sp, #32]
    ldp x25, x26, [sp, #48]
    ldp x27, x28, [sp, #64]
    ldp x29, x30, [sp, #80]
    ldp d8, d9, [sp, #96]
    ldp d10, d11, [sp, #112]
    ldp d12, d13, [sp, #128]
    ldp d14, d15, [sp, #144]
    add sp, sp, #160
    ret
    .size ft_fiber_switch, .-ft_fiber_switch
)");

inline void *ft_fiber_prepare(unsigned char *stack, size_t bytes, void (*main)()) {
    auto top = reinterpret_cast<uintptr_t>(stack + bytes) & ~static_cast<uintptr_t>(15);
    auto *words = reinterpret_cast<uintptr_t *>(top) - 20;
    for (int i = 0; i < 20; ++i) {
        words[i] = 0;
    }
    words[11] = reinterpret_cast<uintptr_t>(main);
    return words;
}

#else
#error "the host's build of the kernels knows x86-64 and AArch64"
#endif
