// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <stddef.h>
#include <stdint.h>

// The codecs for programs that are not in C++: codec.h, coder.h and frame.h say what each does,
// this is the same with plain types. Every call returns 0, or a code of the list below and its
// reason in `message` (cut to message_bytes, always ended by a zero; both may be 0). Nothing is
// kept between calls, and no call lets a C++ exception out. Link with the library
// `spillway_kernels`.
#ifdef __cplusplus
extern "C" {
#endif

enum
{
  SPILLWAY_OK = 0,
  SPILLWAY_INVALID_ARGUMENT = 3,  // a span of a wrong size, misaligned or overlapping
  SPILLWAY_UNIMPLEMENTED = 12,    // a codec or version that this build does not have
  SPILLWAY_INTERNAL = 13,         // out of memory, or a fault of this library
  SPILLWAY_DATA_LOSS = 15,        // bytes that no encoder can have written
};
enum
{
  SPILLWAY_FP32 = 0,
  SPILLWAY_BF16 = 1,
  SPILLWAY_FP16 = 2,
};

typedef struct spillway_codec
{
  uint16_t id;
  uint16_t version;
} spillway_codec;

// By its name, such as "q8".
int spillway_find_codec(const char* name, spillway_codec* codec, char* message,
                        size_t message_bytes);
int spillway_payload_bytes(spillway_codec codec, uint64_t elements, uint64_t* bytes, char* message,
                           size_t message_bytes);

typedef struct spillway_encode_input
{
  spillway_codec codec;
  int type;
  const void* values;
  uint64_t elements;
  const float* residual;  // both NULL, or both of `elements`
  float* new_residual;
  float beta;
  int threads;
} spillway_encode_input;
// `poisoned` may be NULL.
int spillway_encode(const spillway_encode_input* input, void* payload, size_t payload_bytes,
                    uint64_t* poisoned, char* message, size_t message_bytes);

typedef struct spillway_contribution
{
  spillway_codec codec;
  const void* payload;
  size_t payload_bytes;
  float weight;
} spillway_contribution;
// `add`: to what `out` holds, instead of to +0.
int spillway_decode(const spillway_contribution* contributions, size_t count, float* out,
                    uint64_t elements, int add, int threads, char* message, size_t message_bytes);
int spillway_restore(spillway_codec codec, const void* payload, size_t payload_bytes,
                     float* residual, uint64_t elements, int threads, char* message,
                     size_t message_bytes);
int spillway_verify(spillway_codec codec, const void* payload, size_t payload_bytes,
                    uint64_t elements, char* message, size_t message_bytes);

enum
{
  SPILLWAY_FRAME_HEADER_BYTES = 128,
};
typedef struct spillway_frame_header
{
  spillway_codec codec;
  int type;
  uint64_t elements;
  uint64_t first_element;
  uint64_t round;
  uint32_t fragment;
  uint32_t sender;
  uint64_t residual_generation;
  uint64_t poisoned;
} spillway_frame_header;
// Writes the header in front of a payload at frame + SPILLWAY_FRAME_HEADER_BYTES.
int spillway_seal_frame(const spillway_frame_header* header, void* frame, size_t frame_bytes,
                        char* message, size_t message_bytes);
// The payload begins at frame + SPILLWAY_FRAME_HEADER_BYTES and goes to the frame's end.
int spillway_open_frame(const void* frame, size_t frame_bytes, spillway_frame_header* header,
                        char* message, size_t message_bytes);

#ifdef __cplusplus
}
#endif
