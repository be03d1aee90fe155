/* A plugin for the emulator qemu-user, version 7.2 to 8, which counts how often each block of instructions is executed.
 *
 *   cc -O2 -shared -fPIC -o blocks.so blocks.c
 *   qemu-aarch64 -plugin ./blocks.so,out=FILE PROGRAM
 *
 * When PROGRAM ends, the plugin writes one line for each block to FILE. The line holds the number of executions, the
 * symbol (or '?' if there is none), and then in hexadecimal the address of the block and each of its instructions.
 * `tools/arm-cost` reads this file, and `cargo xtask arm-count` calls both.
 *
 * The emulator's package brings no header file. The declarations below are the part of its plugin interface, version 1,
 * that this plugin uses. */
#include <inttypes.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct qemu_plugin_tb;
struct qemu_plugin_insn;
typedef uint64_t qemu_plugin_id_t;
enum qemu_plugin_op { QEMU_PLUGIN_INLINE_ADD_U64 };

size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
const char *qemu_plugin_insn_symbol(const struct qemu_plugin_insn *);
uint64_t qemu_plugin_insn_vaddr(const struct qemu_plugin_insn *);
void qemu_plugin_register_vcpu_tb_exec_inline(struct qemu_plugin_tb *, enum qemu_plugin_op, void *, uint64_t);
void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

#define EXPORT __attribute__((visibility("default")))
EXPORT int qemu_plugin_version = 1;

struct block {
    struct block *next;
    uint64_t executions;
    uint64_t address;
    const char *symbol;
    size_t length;
    uint32_t words[];
};

/* The list of all blocks. Several threads may add blocks at the same time; none removes one. */
static struct block *blocks;
static const char *out;

static void translated(qemu_plugin_id_t id, struct qemu_plugin_tb *tb)
{
    (void)id;
    size_t length = qemu_plugin_tb_n_insns(tb);
    struct block *block = calloc(1, sizeof *block + length * sizeof block->words[0]);
    if (!block || !length)
        return;
    block->length = length;
    block->address = qemu_plugin_insn_vaddr(qemu_plugin_tb_get_insn(tb, 0));
    block->symbol = qemu_plugin_insn_symbol(qemu_plugin_tb_get_insn(tb, 0));
    for (size_t i = 0; i < length; i++)
        memcpy(&block->words[i], qemu_plugin_insn_data(qemu_plugin_tb_get_insn(tb, i)), sizeof block->words[i]);
    do
        block->next = blocks;
    while (!__sync_bool_compare_and_swap(&blocks, block->next, block));
    qemu_plugin_register_vcpu_tb_exec_inline(tb, QEMU_PLUGIN_INLINE_ADD_U64, &block->executions, 1);
}

static void ended(qemu_plugin_id_t id, void *unused)
{
    (void)id, (void)unused;
    FILE *file = fopen(out, "w");
    if (!file) {
        perror(out);
        return;
    }
    for (const struct block *block = blocks; block; block = block->next) {
        if (!block->executions)
            continue;
        const char *symbol = block->symbol && *block->symbol ? block->symbol : "?";
        fprintf(file, "%" PRIu64 " %s %" PRIx64, block->executions, symbol, block->address);
        for (size_t i = 0; i < block->length; i++)
            fprintf(file, " %08" PRIx32, block->words[i]);
        fputc('\n', file);
    }
    if (fclose(file))
        perror(out);
}

EXPORT int qemu_plugin_install(qemu_plugin_id_t id, const void *info, int argc, char **argv)
{
    (void)info;
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4))
            out = argv[i] + 4;
    if (!out) {
        fprintf(stderr, "blocks.so: no output file was given; write -plugin blocks.so,out=FILE\n");
        return 1;
    }
    qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
    qemu_plugin_register_atexit_cb(id, ended, NULL);
    return 0;
}
