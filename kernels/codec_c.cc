// SPDX-License-Identifier: Apache-2.0
#include "spillway/kernels/codec_c.h"

#include <algorithm>
#include <cstring>
#include <exception>
#include <vector>

#include "absl/strings/str_cat.h"
#include "spillway/base/status.h"
#include "spillway/kernels/coder.h"
#include "spillway/kernels/frame.h"

namespace spillway::kernels {
namespace {

struct Message
{
  char* text;
  std::size_t bytes;
};

// Runs `what`, and leaves its reason in the caller's words.
template <typename What>
int answer(Message message, const What& what) noexcept
{
  absl::Status status;
  try
  {
    status = what();
  }
  catch (const std::exception& error)
  {
    status = absl::InternalError(error.what());
  }
  if (message.text != nullptr && message.bytes > 0)
  {
    const std::size_t length = std::min(status.message().size(), message.bytes - 1);
    if (length > 0) std::memcpy(message.text, status.message().data(), length);
    message.text[length] = 0;
  }
  return static_cast<int>(status.code());
}

ByteSpan bytes_of(const void* data, std::size_t size)
{
  return {static_cast<const std::byte*>(data), size};
}
absl::StatusOr<SourceType> type_of(int type)
{
  if (type >= SPILLWAY_FP32 && type <= SPILLWAY_FP16) return static_cast<SourceType>(type);
  return absl::InvalidArgumentError(absl::StrCat("type ", type, " is none of fp32, bf16, fp16"));
}
// Codecs come from outside: what is not known must not reach code that takes it as known.
absl::StatusOr<Codec> known(spillway_codec codec)
{
  return find_codec(codec.id, codec.version);
}

}  // namespace
}  // namespace spillway::kernels

using namespace spillway;
using namespace spillway::kernels;

int spillway_find_codec(const char* name, spillway_codec* codec, char* message,
                        size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec found, find_codec(absl::string_view(name)));
    *codec = {static_cast<std::uint16_t>(found.id), found.version};
    return absl::OkStatus();
  });
}

int spillway_payload_bytes(spillway_codec codec, uint64_t elements, uint64_t* bytes, char* message,
                           size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec found, known(codec));
    SPILLWAY_ASSIGN_OR_RETURN(const Layout layout, layout_of(found, elements));
    *bytes = layout.payload_bytes;
    return absl::OkStatus();
  });
}

int spillway_encode(const spillway_encode_input* input, void* payload, size_t payload_bytes,
                    uint64_t* poisoned, char* message, size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec codec, known(input->codec));
    SPILLWAY_ASSIGN_OR_RETURN(const SourceType type, type_of(input->type));
    const auto length = [&](const float* values) {
      return values == nullptr ? std::size_t{0} : static_cast<std::size_t>(input->elements);
    };
    const EncodeInput from{.codec = codec,
                           .type = type,
                           .values = input->values,
                           .elements = input->elements,
                           .residual = {input->residual, length(input->residual)},
                           .new_residual = {input->new_residual, length(input->new_residual)},
                           .beta = input->beta};
    SPILLWAY_ASSIGN_OR_RETURN(const Encoded encoded,
                              encode(from, {static_cast<std::byte*>(payload), payload_bytes},
                                     {.threads = input->threads}));
    if (poisoned != nullptr) *poisoned = encoded.poisoned;
    return absl::OkStatus();
  });
}

int spillway_decode(const spillway_contribution* contributions, size_t count, float* out,
                    uint64_t elements, int add, int threads, char* message, size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    std::vector<Contribution> all;
    for (std::size_t i = 0; i < count; ++i)
    {
      const spillway_contribution& one = contributions[i];
      SPILLWAY_ASSIGN_OR_RETURN(const Codec codec, known(one.codec));
      all.push_back({codec, bytes_of(one.payload, one.payload_bytes), one.weight});
    }
    return decode(all, {out, static_cast<std::size_t>(elements)},
                  {.threads = threads, .add = add != 0});
  });
}

int spillway_restore(spillway_codec codec, const void* payload, size_t payload_bytes,
                     float* residual, uint64_t elements, int threads, char* message,
                     size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec found, known(codec));
    return restore(found, bytes_of(payload, payload_bytes),
                   {residual, static_cast<std::size_t>(elements)}, {.threads = threads});
  });
}

int spillway_verify(spillway_codec codec, const void* payload, size_t payload_bytes,
                    uint64_t elements, char* message, size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec found, known(codec));
    return verify(found, bytes_of(payload, payload_bytes), elements);
  });
}

int spillway_seal_frame(const spillway_frame_header* header, void* frame, size_t frame_bytes,
                        char* message, size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const Codec codec, known(header->codec));
    SPILLWAY_ASSIGN_OR_RETURN(const SourceType type, type_of(header->type));
    return seal_frame({.codec = codec,
                       .source = type,
                       .elements = header->elements,
                       .first_element = header->first_element,
                       .round = header->round,
                       .fragment = header->fragment,
                       .sender = header->sender,
                       .residual_generation = header->residual_generation,
                       .poisoned = header->poisoned},
                      {static_cast<std::byte*>(frame), frame_bytes});
  });
}

int spillway_open_frame(const void* frame, size_t frame_bytes, spillway_frame_header* header,
                        char* message, size_t message_bytes)
{
  return answer({message, message_bytes}, [&]() -> absl::Status {
    SPILLWAY_ASSIGN_OR_RETURN(const OpenedFrame opened, open_frame(bytes_of(frame, frame_bytes)));
    const FrameHeader& from = opened.header;
    *header = {.codec = {static_cast<std::uint16_t>(from.codec.id), from.codec.version},
               .type = static_cast<int>(from.source),
               .elements = from.elements,
               .first_element = from.first_element,
               .round = from.round,
               .fragment = from.fragment,
               .sender = from.sender,
               .residual_generation = from.residual_generation,
               .poisoned = from.poisoned};
    return absl::OkStatus();
  });
}
