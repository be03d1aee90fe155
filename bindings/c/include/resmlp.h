/*
 * ResMLP Edge for C and C++. cbindgen generates this file from bindings/c/src;
 * `RESMLP_OVERWRITE=1 cargo test -p resmlp-c` renews it.
 *
 * Rules that hold for every function:
 *  - The library allocates nothing. It keeps no pointer after a function has returned, except those that the
 *    documentation of resmlp_parse() and resmlp_engine_init() names.
 *  - The caller passes pointers that are valid for what the function does with them. Functions refuse NULL and wrong
 *    alignment with an error, and overlapping memory if _OVERLAP is among their results. They cannot notice that memory
 *    is too short or was freed.
 *  - The caller owns the objects and may place them anywhere, but must not look inside them, nor copy them while they
 *    are in use.
 *  - Any number of threads may call functions with the same `const` objects at the same time, if each thread has its
 *    own scratch memory and logits.
 *  - The floating-point mode must be the one that programs start with: rounding to nearest, subnormal numbers not
 *    flushed.
 *  - No function unwinds, panics or waits, and none calls back except through a resmlp_parallel.
 *  - resmlp_run() needs at most 256 KiB of stack on each core. The kernels for x86-64 need the most.
 */

#ifndef RESMLP_H
#define RESMLP_H

#include <stddef.h>
#include <stdint.h>

/**
 * The bytes of a model must start at a multiple of this number.
 */
#define RESMLP_ALIGNMENT 64

/**
 * Largest number of classes that resmlp_top() finds.
 */
#define RESMLP_TOP_MAX 16

/**
 * Largest number of workers in a resmlp_parallel.
 */
#define RESMLP_WORKERS_MAX 64

/**
 * The result of a function: 0, or the number of an error.
 */
typedef enum resmlp_status {
  /**
   * The function succeeded.
   */
  RESMLP_STATUS_OK = 0,
  /**
   * A pointer is NULL.
   */
  RESMLP_STATUS_NULL = 1,
  /**
   * An object is not initialised, or its initialisation failed.
   */
  RESMLP_STATUS_UNINITIALISED = 2,
  /**
   * A pointer is misaligned. A model's bytes need an alignment of RESMLP_ALIGNMENT, everything else that of its
   * type.
   */
  RESMLP_STATUS_MISALIGNED = 3,
  /**
   * Memory that the function writes overlaps other memory that was passed to it.
   */
  RESMLP_STATUS_OVERLAP = 4,
  /**
   * The bytes are not a packed model.
   */
  RESMLP_STATUS_NOT_A_MODEL = 5,
  /**
   * The model has another format version than this library reads. Convert the network again.
   */
  RESMLP_STATUS_VERSION = 6,
  /**
   * The model is damaged: it was cut off, extended or changed.
   */
  RESMLP_STATUS_DAMAGED = 7,
  /**
   * The model is malformed: a field or a tensor has a value that the format does not allow.
   */
  RESMLP_STATUS_MALFORMED = 8,
  /**
   * No kernels have this name, or this CPU lacks the instructions that they use.
   */
  RESMLP_STATUS_KERNELS = 9,
  /**
   * The kernels do not read the model's layout. Convert the network with `--target`, or choose other kernels.
   */
  RESMLP_STATUS_LAYOUT = 10,
  /**
   * The picture's number of bytes is not height × width × 3.
   */
  RESMLP_STATUS_IMAGE = 11,
  /**
   * The scratch memory is smaller than resmlp_scratch_len() bytes.
   */
  RESMLP_STATUS_SCRATCH = 12,
  /**
   * The number of logits is not the model's number of outputs.
   */
  RESMLP_STATUS_LOGITS = 13,
  /**
   * An index is out of range, or a count is above its limit.
   */
  RESMLP_STATUS_RANGE = 14,
  /**
   * The function in resmlp_parallel did not call every task.
   */
  RESMLP_STATUS_PARALLEL = 15,
  /**
   * The library has an internal error. Please report it.
   */
  RESMLP_STATUS_INTERNAL = 16,
} resmlp_status;

/**
 * A validated model. It refers to the model's bytes, which must stay where they are, unchanged, as long as the object
 * is used.
 *
 * Initialise the object with zeros: `resmlp_model model = {0};`
 */
typedef struct resmlp_model {
  uint64_t mark;
  uint64_t memory[96];
} resmlp_model;

/**
 * Properties of a model.
 */
typedef struct resmlp_info {
  /**
   * Height of a picture, pixels.
   */
  uint32_t height;
  /**
   * Width of a picture, pixels.
   */
  uint32_t width;
  /**
   * Number of bytes of a picture: height × width × 3.
   */
  size_t image_len;
  /**
   * Number of logits: the classes, or the channels of a model without a classifier.
   */
  uint32_t outputs;
  /**
   * Number of labels: the same as outputs, or 0 if the model carries no labels.
   */
  uint32_t labels;
  /**
   * 1 if the model has a classifier, 0 if it computes an embedding.
   */
  uint32_t has_head;
  /**
   * 1 if the weights are 16-bit floating-point numbers, 0 if they are 8-bit integers.
   */
  uint32_t is_f16;
  /**
   * The filter that resizes a picture before its centre is cut out: 1 for bicubic, 0 for bilinear, both with
   * antialiasing.
   */
  uint32_t is_bicubic;
  /**
   * The shorter side of a picture is resized to the model's size divided by this number, unless is_squashed is 1.
   */
  float crop;
  /**
   * The activation function: 0 the exact GELU, 1 its tanh approximation, 2 ReLU.
   */
  uint32_t activation;
  /**
   * 1 where the whole picture is resized to the model's size and nothing is cut off, 0 where the centre is cut out.
   */
  uint32_t is_squashed;
} resmlp_info;

/**
 * A text in UTF-8 that does not end with a zero. Print it with `printf("%.*s", (int)text.length, text.start)`.
 */
typedef struct resmlp_text {
  /**
   * The first byte.
   */
  const char *start;
  /**
   * Number of bytes.
   */
  size_t length;
} resmlp_text;

/**
 * A model together with the kernels and threads that run it. It refers to the model's bytes, but not to the
 * resmlp_model.
 *
 * Initialise the object with zeros: `resmlp_engine engine = {0};`
 */
typedef struct resmlp_engine {
  uint64_t mark;
  uint64_t memory[112];
} resmlp_engine;

/**
 * A function that does one part of the work. A program's `for_each` calls it with the `data` that it received and with
 * each `index` below the `count` that it received.
 */
typedef void (*resmlp_task)(void *data, size_t index);

/**
 * Threads that a program lends to resmlp_run().
 */
typedef struct resmlp_parallel {
  /**
   * Number of calls that can run at the same time: 1 to RESMLP_WORKERS_MAX.
   */
  size_t workers;
  /**
   * Calls `task(data, i)` once for each `i` below `count`, in any order and on any threads, and returns when all
   * calls have returned. In C++, the function must not throw. If several threads call resmlp_run() at the same time,
   * they may call this function at the same time.
   *
   * Calling a task twice does no harm. If a task is not called, resmlp_run() returns an error. If a task is still
   * running when this function returns, the library cannot notice it, and the task writes to memory that is no
   * longer lent.
   */
  void (*for_each)(void *context, size_t count, resmlp_task task, void *data);
  /**
   * Passed to `for_each` unchanged.
   */
  void *context;
} resmlp_parallel;

/**
 * A class and its logit.
 */
typedef struct resmlp_class {
  /**
   * Number of the class, counted from 0.
   */
  uint32_t index;
  /**
   * Logit of the class.
   */
  float logit;
} resmlp_class;

#ifdef __cplusplus
extern "C" {
#endif // __cplusplus

/**
 * Validates the `length` bytes of a packed model at `bytes`, and makes `model` a view of them. Nothing is copied.
 *
 * @param model  receives the model. After an error it is not initialised, and after _NULL, _MISALIGNED and _OVERLAP
 *               its memory is unchanged
 * @param bytes  the file's bytes, at a multiple of RESMLP_ALIGNMENT; they must stay there, unchanged, as long as the
 *               model or an engine made from it is used
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _RANGE, _OVERLAP, _NOT_A_MODEL, _VERSION, _DAMAGED or _MALFORMED
 */
int32_t resmlp_parse(struct resmlp_model *model, const uint8_t *bytes, size_t length);

/**
 * Writes the model's properties to `info`.
 *
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED or _OVERLAP
 */
int32_t resmlp_model_info(const struct resmlp_model *model, struct resmlp_info *info);

/**
 * Writes the name of class `index` to `label`. The text lies in the model's bytes.
 *
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, or _RANGE if there is no such label
 */
int32_t resmlp_model_label(const struct resmlp_model *model, size_t index, struct resmlp_text *label);

/**
 * Writes the name of the kernels at `index` among those that this CPU can run, fastest first, to `name`. The text is
 * never freed.
 *
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, or _RANGE if `index` is not below the number of such kernels
 */
int32_t resmlp_kernels_name(size_t index, struct resmlp_text *name);

/**
 * Makes an engine of a model, kernels and threads.
 *
 * @param engine    receives the engine. After an error it is not initialised, and if `engine` itself is the cause of
 *                  _NULL, _MISALIGNED or _OVERLAP, its memory is unchanged
 * @param kernels   a name that resmlp_kernels_name() gives, ended by a zero, or NULL for the fastest kernels that read
 *                  the model's layout
 * @param parallel  the threads, copied into the engine, or NULL to use only the thread that calls resmlp_run()
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, _KERNELS, _LAYOUT, _RANGE (workers) or
 *         _MALFORMED
 */
int32_t resmlp_engine_init(struct resmlp_engine *engine,
                           const struct resmlp_model *model,
                           const char *kernels,
                           const struct resmlp_parallel *parallel);

/**
 * Writes the name of the engine's kernels to `name`. The text is never freed.
 *
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED or _OVERLAP
 */
int32_t resmlp_engine_kernels(const struct resmlp_engine *engine, struct resmlp_text *name);

/**
 * Returns the number of bytes of scratch memory that resmlp_run() needs, at any alignment, or 0 if the engine is not
 * initialised.
 */
size_t resmlp_scratch_len(const struct resmlp_engine *engine);

/**
 * Runs the network on one picture.
 *
 * @param image    resmlp_info.image_len bytes: rows from top to bottom, pixels from left to right, and of each pixel
 *                 red, green and blue
 * @param scratch  resmlp_scratch_len() bytes or more, whose contents before and after the call do not matter
 * @param logits   receives resmlp_info.outputs numbers
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _UNINITIALISED, _OVERLAP, _IMAGE, _SCRATCH, _LOGITS, _RANGE, _PARALLEL
 * or
 *         _INTERNAL
 */
int32_t resmlp_run(const struct resmlp_engine *engine,
                   const uint8_t *image,
                   size_t image_len,
                   uint8_t *scratch,
                   size_t scratch_len,
                   float *logits,
                   size_t logits_len);

/**
 * Finds the `count` largest logits, largest first. Equal logits are in the order of their index.
 *
 * @param best   receives `count` classes
 * @param count  at most RESMLP_TOP_MAX, and at most `length`
 * @return RESMLP_STATUS_OK, _NULL, _MISALIGNED, _OVERLAP or _RANGE
 */
int32_t resmlp_top(const float *logits, size_t length, struct resmlp_class *best, size_t count);

/**
 * Returns an English text for a status. The pointer is never NULL, and the text is never freed.
 */
const char *resmlp_status_text(int32_t status);

#ifdef __cplusplus
}  // extern "C"
#endif  // __cplusplus

#endif  /* RESMLP_H */
