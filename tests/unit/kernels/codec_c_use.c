/* SPDX-License-Identifier: Apache-2.0 */
/* A program in C: the header is C, and what it declares does what it says. Returns the line of the
   first that does not, or 0. */
#include <stdlib.h>
#include <string.h>

#include "spillway/kernels/codec_c.h"

#define WANT(what)                \
  do {                            \
    if (!(what)) return __LINE__; \
  } while (0)

enum
{
  kElements = 5000
};

int use_from_c(void)
{
  static float values[kElements], residual[kElements], next[kElements], out[kElements];
  char message[200];
  spillway_codec q8 = {0, 0}, unknown = {999, 1};
  uint64_t bytes = 0, poisoned = 77;
  for (int i = 0; i < kElements; ++i) values[i] = (float)((i * 37) % 101 - 50) / 64.0f;

  WANT(spillway_find_codec("q8", &q8, message, sizeof message) == SPILLWAY_OK);
  WANT(message[0] == 0);
  WANT(spillway_find_codec("q9", &q8, message, 20) == SPILLWAY_INVALID_ARGUMENT);
  WANT(strlen(message) == 19);
  WANT(spillway_payload_bytes(unknown, kElements, &bytes, NULL, 0) == SPILLWAY_UNIMPLEMENTED);
  WANT(spillway_payload_bytes(q8, kElements, &bytes, NULL, 0) == SPILLWAY_OK);

  unsigned char* frame = malloc(SPILLWAY_FRAME_HEADER_BYTES + bytes);
  unsigned char* payload = frame + SPILLWAY_FRAME_HEADER_BYTES;
  spillway_encode_input input = {q8, SPILLWAY_FP32, values, kElements, residual, next, 1.0f, 1};
  WANT(spillway_encode(&input, payload, bytes - 1, &poisoned, message, sizeof message) ==
       SPILLWAY_INVALID_ARGUMENT);
  WANT(spillway_encode(&input, payload, bytes, &poisoned, message, sizeof message) == SPILLWAY_OK);
  WANT(poisoned == 0);
  input.type = 9;
  WANT(spillway_encode(&input, payload, bytes, NULL, NULL, 0) == SPILLWAY_INVALID_ARGUMENT);
  WANT(spillway_verify(q8, payload, bytes, kElements, NULL, 0) == SPILLWAY_OK);

  /* What was decoded and what the residual keeps make the value. */
  spillway_contribution one = {q8, payload, bytes, 1.0f};
  WANT(spillway_decode(&one, 1, out, kElements, 0, 1, NULL, 0) == SPILLWAY_OK);
  for (int i = 0; i < kElements; ++i) WANT(out[i] + next[i] == values[i]);
  WANT(spillway_decode(&one, 1, out, kElements, 1, 2, NULL, 0) == SPILLWAY_OK);
  for (int i = 0; i < kElements; ++i) WANT(out[i] == 2 * (values[i] - next[i]));
  WANT(spillway_restore(q8, payload, bytes, next, kElements, 1, NULL, 0) == SPILLWAY_OK);
  for (int i = 0; i < kElements; ++i) WANT(next[i] == values[i]);
  one.codec = unknown;
  WANT(spillway_decode(&one, 1, out, kElements, 0, 1, NULL, 0) == SPILLWAY_UNIMPLEMENTED);

  spillway_frame_header header = {q8, SPILLWAY_FP32, kElements, 8192, 3, 4, 5, 6, 0}, opened;
  const size_t all = SPILLWAY_FRAME_HEADER_BYTES + bytes;
  WANT(spillway_seal_frame(&header, frame, all, NULL, 0) == SPILLWAY_OK);
  WANT(spillway_open_frame(frame, all, &opened, NULL, 0) == SPILLWAY_OK);
  WANT(opened.codec.id == q8.id && opened.elements == kElements && opened.first_element == 8192);
  WANT(opened.round == 3 && opened.fragment == 4 && opened.sender == 5);
  WANT(opened.residual_generation == 6 && opened.poisoned == 0 && opened.type == SPILLWAY_FP32);
  frame[200] ^= 1;
  WANT(spillway_open_frame(frame, all, &opened, message, sizeof message) == SPILLWAY_DATA_LOSS);
  WANT(strstr(message, "checksum") != NULL);
  free(frame);
  return 0;
}
