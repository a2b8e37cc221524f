//! From where the loader jumps to, in 32-bit mode, to `main` in 64-bit mode; and the instructions that Rust has no words for.
//!
//! QEMU finds the entry by the note for Xen's PVH (type 18), and jumps there with paging off. The first 4 GiB are mapped as they are, in pages of 2 MiB.

use core::arch::{asm, global_asm};

global_asm!(
    ".pushsection .note.pvh, \"a\", @note",
    ".align 4",
    ".long 4, 4, 18",
    ".asciz \"Xen\"",
    ".long boot_32",
    ".popsection",
    ".pushsection .bss.boot, \"aw\", @nobits",
    ".align 4096",
    "boot_pml4: .skip 4096",
    "boot_pdpt: .skip 4096",
    "boot_pd: .skip 4 * 4096",
    "boot_stack: .skip 128 * 1024",
    "boot_stack_end:",
    ".popsection",
    ".pushsection .rodata.boot, \"a\"",
    ".align 8",
    // Null, 64-bit code, data.
    "boot_gdt: .quad 0, 0x00AF9A000000FFFF, 0x00CF92000000FFFF",
    "boot_gdt_pointer: .word 23",
    ".long boot_gdt",
    ".popsection",
    ".pushsection .text.boot, \"ax\"",
    ".code32",
    ".globl _start",
    ".globl boot_32",
    "_start:",
    "boot_32:",
    "cld",
    "mov esp, offset boot_stack_end",
    "mov eax, offset boot_pdpt",
    "or eax, 3",
    "mov [boot_pml4], eax",
    // Four directories of a gigabyte each.
    "mov eax, offset boot_pd",
    "or eax, 3",
    "mov edi, offset boot_pdpt",
    "mov ecx, 4",
    "2: mov [edi], eax",
    "add eax, 4096",
    "add edi, 8",
    "dec ecx",
    "jnz 2b",
    // Present, writable, 2 MiB.
    "mov eax, 0x83",
    "mov edi, offset boot_pd",
    "mov ecx, 2048",
    "3: mov [edi], eax",
    "add eax, 0x200000",
    "add edi, 8",
    "dec ecx",
    "jnz 3b",
    "mov eax, offset boot_pml4",
    "mov cr3, eax",
    // PAE; OSFXSR and OSXMMEXCPT, without which SSE instructions fault.
    "mov eax, cr4",
    "or eax, 0x620",
    "mov cr4, eax",
    // EFER.LME.
    "mov ecx, 0xC0000080",
    "rdmsr",
    "or eax, 0x100",
    "wrmsr",
    // Paging and protection; MP, not EM.
    "mov eax, cr0",
    "and eax, 0xFFFFFFFB",
    "or eax, 0x80000003",
    "mov cr0, eax",
    "lgdt [boot_gdt_pointer]",
    // A far jump to 64-bit code, written as a far return.
    "push 8",
    "mov eax, offset boot_64",
    "push eax",
    "retf",
    ".code64",
    "boot_64:",
    "mov eax, 16",
    "mov ds, eax",
    "mov es, eax",
    "mov ss, eax",
    "mov rsp, offset boot_stack_end",
    "xor ebp, ebp",
    "call {main}",
    "ud2",
    ".popsection",
    main = sym crate::main,
);

/// Stops the processor for good.
pub fn halt() -> ! {
    loop {
        // SAFETY: waits for an interrupt, and none is enabled.
        unsafe { asm!("cli", "hlt", options(nomem, nostack)) };
    }
}

/// A random number from the processor. Waits until it has one.
pub fn random() -> u64 {
    loop {
        let (number, valid): (u64, u8);
        // SAFETY: needs a processor with RDRAND (`-cpu max`); on another it is an invalid instruction, and the machine resets.
        unsafe { asm!("rdrand {}", "setc {}", out(reg) number, out(reg_byte) valid, options(nomem, nostack)) };
        if valid != 0 {
            return number;
        }
    }
}

/// Reads a register of the real-time clock.
pub fn read_cmos(register: u8) -> u8 {
    let value;
    // SAFETY: ports 0x70 and 0x71 are the real-time clock of every PC; reading it changes nothing else.
    unsafe {
        asm!("out 0x70, al", in("al") register, options(nomem, nostack, preserves_flags));
        asm!("in al, 0x71", out("al") value, options(nomem, nostack, preserves_flags));
    }
    value
}

/// The unwind tables of the `alloc` that comes with the toolchain name this. Nobody calls it: a panic stops the machine.
#[unsafe(no_mangle)]
extern "C" fn rust_eh_personality() -> ! {
    halt()
}
