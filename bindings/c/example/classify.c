/*
 * Classifies pictures: classify THREADS MODEL.rmlp PICTURE.rgb...
 *
 * A picture is a file of height × width × 3 bytes, in the size that the model reads. For each picture the program
 * prints one line with all logits and one line with the best classes. The program allocates all memory; the library
 * allocates none.
 *
 *   cargo rustc --crate-type staticlib --profile freestanding -p resmlp-c --no-default-features --features hosted
 *   cc -std=c99 -O2 -I bindings/c/include bindings/c/example/classify.c target/freestanding/libresmlp.a -pthread
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>

#include "resmlp.h"

/* The share of one thread: every `step`th task from `first` on. */
struct share {
  size_t first, step, count;
  resmlp_task task;
  void *data;
};

static void *work(void *argument) {
  const struct share *share = argument;
  for (size_t i = share->first; i < share->count; i += share->step) share->task(share->data, i);
  return NULL;
}

/* Starts new threads for each part of the network: simple, but slower than keeping threads that wait for work. */
static void for_each(void *context, size_t count, resmlp_task task, void *data) {
  size_t threads = *(const size_t *)context;
  struct share shares[RESMLP_WORKERS_MAX];
  pthread_t handles[RESMLP_WORKERS_MAX];
  int started[RESMLP_WORKERS_MAX] = {0};
  for (size_t i = 0; i < threads; i++) {
    shares[i] = (struct share){i, threads, count, task, data};
    if (i > 0) started[i] = pthread_create(&handles[i], NULL, work, &shares[i]) == 0;
    if (!started[i]) work(&shares[i]);
  }
  for (size_t i = 1; i < threads; i++) {
    if (started[i]) pthread_join(handles[i], NULL);
  }
}

static void check(const char *what, int32_t status) {
  if (status == RESMLP_STATUS_OK) return;
  fprintf(stderr, "%s: %s\n", what, resmlp_status_text(status));
  exit(1);
}

static void *allocate(size_t length) {
  void *memory = malloc(length + 1);
  if (memory == NULL) {
    fprintf(stderr, "cannot allocate %zu bytes of memory\n", length);
    exit(1);
  }
  return memory;
}

/* Reads a file to an address that is a multiple of RESMLP_ALIGNMENT. The memory is never freed, because the program
 * needs it until its end. */
static uint8_t *read_file(const char *path, size_t *length) {
  FILE *file = fopen(path, "rb");
  if (file == NULL || fseek(file, 0, SEEK_END) != 0 || ftell(file) < 0) {
    perror(path);
    exit(1);
  }
  *length = (size_t)ftell(file);
  rewind(file);
  uint8_t *bytes = allocate(*length + RESMLP_ALIGNMENT);
  bytes += RESMLP_ALIGNMENT - (uintptr_t)bytes % RESMLP_ALIGNMENT;
  if (fread(bytes, 1, *length, file) != *length) {
    perror(path);
    exit(1);
  }
  fclose(file);
  return bytes;
}

static void print_best(const resmlp_model *model, const float *logits, const resmlp_info *info) {
  struct resmlp_class best[5];
  size_t count = info->outputs < 5 ? info->outputs : 5;
  check("top", resmlp_top(logits, info->outputs, best, count));
  for (size_t i = 0; i < count; i++) {
    resmlp_text label = {"", 0};
    if (info->labels > 0) check("label", resmlp_model_label(model, best[i].index, &label));
    printf("%s%u %.*s %.3f", i > 0 ? ", " : "best ", best[i].index, (int)label.length, label.start, best[i].logit);
  }
  printf("\n");
}

int main(int count, char **arguments) {
  if (count < 4) {
    fprintf(stderr, "usage: %s THREADS MODEL.rmlp PICTURE.rgb...\n", arguments[0]);
    return 2;
  }
  size_t threads = (size_t)strtoul(arguments[1], NULL, 10), length;
  const uint8_t *bytes = read_file(arguments[2], &length);

  resmlp_model model = {0};
  check(arguments[2], resmlp_parse(&model, bytes, length));
  resmlp_info info;
  check("info", resmlp_model_info(&model, &info));

  resmlp_parallel parallel = {threads, for_each, &threads};
  resmlp_engine engine = {0};
  check("engine", resmlp_engine_init(&engine, &model, NULL, &parallel));
  resmlp_text kernels;
  check("kernels", resmlp_engine_kernels(&engine, &kernels));
  printf("kernels %.*s\n", (int)kernels.length, kernels.start);

  size_t scratch_len = resmlp_scratch_len(&engine);
  uint8_t *scratch = allocate(scratch_len);
  float *logits = allocate(info.outputs * sizeof(float));
  for (int i = 3; i < count; i++) {
    const uint8_t *image = read_file(arguments[i], &length);
    check(arguments[i], resmlp_run(&engine, image, length, scratch, scratch_len, logits, info.outputs));
    printf("logits");
    for (uint32_t k = 0; k < info.outputs; k++) printf(" %.9g", logits[k]);
    printf("\n");
    print_best(&model, logits, &info);
  }
  free(scratch);
  free(logits);
  return 0;
}
