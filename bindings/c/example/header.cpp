// That the header is C++ too, and its objects can be made and handed on there.
#include "resmlp.h"

int32_t classify(const uint8_t *bytes, size_t length, const uint8_t *image, uint8_t *scratch, float *logits) {
  resmlp_model model = {};
  resmlp_engine engine = {};
  resmlp_info info = {};
  resmlp_text text = {};
  resmlp_class best[1] = {};
  int32_t status = resmlp_parse(&model, bytes, length);
  if (status == RESMLP_STATUS_OK) status = resmlp_model_info(&model, &info);
  if (status == RESMLP_STATUS_OK) status = resmlp_kernels_name(0, &text);
  if (status == RESMLP_STATUS_OK) status = resmlp_engine_init(&engine, &model, nullptr, nullptr);
  if (status == RESMLP_STATUS_OK) {
    status = resmlp_run(&engine, image, info.image_len, scratch, resmlp_scratch_len(&engine), logits, info.outputs);
  }
  if (status == RESMLP_STATUS_OK) status = resmlp_top(logits, info.outputs, best, 1);
  return status == RESMLP_STATUS_OK ? static_cast<int32_t>(best[0].index) : -status;
}
