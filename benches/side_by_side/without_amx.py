"""Runs a command to which Linux refuses the tiles of AMX, so that the command sees a CPU with AVX-512 VNNI at most.

python without_amx.py COMMAND…

A program must ask for the tiles' memory (`arch_prctl(ARCH_REQ_XCOMP_PERM)`). A system-call filter refuses the request, and every
engine then uses the instructions that it would use on a CPU without AMX.
"""

import ctypes
import os
import struct
import sys

AUDIT_ARCH_X86_64 = 0xC000003E
ARCH_PRCTL, ARCH_REQ_XCOMP_PERM = 158, 0x1023
EPERM = 1
LOAD, JUMP_IF_EQUAL, RETURN = 0x20, 0x15, 0x06  # of classic BPF: BPF_LD | BPF_W | BPF_ABS, BPF_JMP | BPF_JEQ, BPF_RET
NUMBER, ARCHITECTURE, FIRST_ARGUMENT = 0, 4, 16  # offsets in seccomp_data
ALLOW, REFUSE = 0x7FFF0000, 0x00050000 | EPERM
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 38, 22, 2

FILTER = [
    (LOAD, 0, 0, ARCHITECTURE),
    (JUMP_IF_EQUAL, 0, 5, AUDIT_ARCH_X86_64),
    (LOAD, 0, 0, NUMBER),
    (JUMP_IF_EQUAL, 0, 3, ARCH_PRCTL),
    (LOAD, 0, 0, FIRST_ARGUMENT),
    (JUMP_IF_EQUAL, 0, 1, ARCH_REQ_XCOMP_PERM),
    (RETURN, 0, 0, REFUSE),
    (RETURN, 0, 0, ALLOW),
]


def main():
    instructions = b"".join(struct.pack("=HBBI", *instruction) for instruction in FILTER)
    memory = ctypes.create_string_buffer(instructions)
    program = struct.pack("@HP", len(FILTER), ctypes.addressof(memory))
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    for call in [(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), (PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program, 0, 0)]:
        if prctl(*(ctypes.c_ulong(word) if isinstance(word, int) else word for word in call)):
            raise OSError(ctypes.get_errno(), f"prctl{call[:2]}")
    os.execvp(sys.argv[1], sys.argv[1:])


if __name__ == "__main__":
    main()
