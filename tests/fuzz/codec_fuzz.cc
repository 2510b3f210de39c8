// SPDX-License-Identifier: Apache-2.0
// Untrusted payloads and frames: nothing is read or written outside of its spans, both backends say
// the same, and what verify() takes decode() takes as well. Built with libFuzzer and sanitizers.
#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "spillway/kernels/coder.h"
#include "spillway/kernels/frame.h"

namespace {

using namespace spillway;
using namespace spillway::kernels;

constexpr std::uint64_t kMostElementsHere = 3 * kTileElements + 100;

void expect(bool what, const char* words)
{
  if (what) return;
  std::fprintf(stderr, "codec_fuzz: %s\n", words);
  std::abort();
}

// In memory of its own size, so that one byte too many is seen.
template <typename T>
std::unique_ptr<T[]> filled(std::size_t count, T value)
{
  auto memory = std::make_unique<T[]>(count);
  std::fill_n(memory.get(), count, value);
  return memory;
}

// What decode() and restore() leave of a payload, with one backend.
struct Result
{
  absl::StatusCode decoded, restored;
  std::unique_ptr<float[]> out, residual;
};

Result run(Backend backend, Codec codec, ByteSpan payload, std::uint64_t elements)
{
  Result result{{}, {}, filled(elements, 0.5f), filled(elements, 0.25f)};
  const Contribution twice[] = {{codec, payload, 1.0f}, {codec, payload, -0.25f}};
  const DecodeOptions options{.backend = backend, .threads = 1, .add = true};
  result.decoded = decode(twice, {result.out.get(), elements}, options).code();
  result.restored =
      restore(codec, payload, {result.residual.get(), elements}, {.backend = backend}).code();
  return result;
}

bool same(const float* a, const float* b, std::uint64_t count)
{
  return count == 0 || std::memcmp(a, b, count * sizeof(float)) == 0;
}

void try_payload(Codec codec, ByteSpan payload, std::uint64_t elements)
{
  const Result reference = run(Backend::kReference, codec, payload, elements);
  const Result simd = run(Backend::kSimd, codec, payload, elements);
  expect(reference.decoded == simd.decoded, "the backends take different payloads");
  expect(reference.restored == simd.restored, "the backends restore different payloads");
  expect(same(reference.out.get(), simd.out.get(), elements), "the backends decode differently");
  expect(same(reference.residual.get(), simd.residual.get(), elements),
         "the backends restore differently");
  const bool taken = reference.decoded == absl::StatusCode::kOk;
  if (verify(codec, payload, elements).ok()) expect(taken, "verify() takes what decode() refuses");
  if (taken) return;
  for (std::uint64_t i = 0; i < elements; ++i)
    expect(reference.out[i] == 0.5f && reference.residual[i] == 0.25f, "a refusal has written");
}

}  // namespace

// The first byte chooses; a payload begins behind two more, which say how many elements it is for.
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size)
{
  if (size < 3) return 0;
  const auto bytes = std::vector<std::byte>(reinterpret_cast<const std::byte*>(data + 3),
                                            reinterpret_cast<const std::byte*>(data + size));
  const std::uint64_t elements = (data[1] * 256u + data[2]) % kMostElementsHere;
  const auto codecs = all_codecs();
  if (data[0] >= 2 * codecs.size())
  {
    const auto frame = open_frame(bytes);
    if (!frame.ok() || frame->header.elements > kMostElementsHere) return 0;
    try_payload(frame->header.codec, frame->payload, frame->header.elements);
    return 0;
  }
  const Codec codec = codecs[data[0] % codecs.size()];
  if (data[0] < codecs.size())
  {
    try_payload(codec, bytes, elements);  // nearly always of a wrong size
    return 0;
  }
  std::vector<std::byte> payload(layout_of(codec, elements)->payload_bytes);
  std::copy_n(bytes.begin(), std::min(bytes.size(), payload.size()), payload.begin());
  // Then the bytes again, so that short inputs reach the later sections, too.
  for (std::size_t i = bytes.size(); !bytes.empty() && i < payload.size(); ++i)
    payload[i] = bytes[i % bytes.size()];
  try_payload(codec, payload, elements);
  return 0;
}
